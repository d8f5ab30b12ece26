// SPDX-License-Identifier: Apache-2.0
// Turns rules into the ops and tensors of one rank class. It knows which tensor each role stands for at each layer
// and micro-batch, derives dependencies across queues from the uses of tensors, and marks the last use of each
// tensor as its release.
#pragma once

#include "program/lowering/rules.h"
#include "program/step_program.h"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace orrery::lowering {

class ClassBuilder {
 public:
  /// For tensors at `layers`, global ones in any order, and micro-batches 0 .. num_micro_batches - 1. A stage needs
  /// its own layers and the one behind, where its output is; stages side by side share that one.
  ClassBuilder(RankClass& out, const std::vector<std::int64_t>& layers, std::int64_t num_micro_batches);

  /// Where the next rules apply: `layer` says which tensors are meant (the head's are those of the layer behind the
  /// last), `key_layer` what the key says.
  struct Position {
    std::int64_t stage = 0;
    std::int64_t layer = 0;
    std::int64_t micro_batch = -1;
    std::int16_t key_layer = OpKey::kNoLayer;
  };

  /// Adds the op of `rule` and returns its index. `after`: further ops that it waits for, whatever their queue.
  OpIndex emit(const OpRule& rule, const Position& at, std::span<const OpIndex> after = {});
  /// The same as a recomputation: tensors of `kept` roles were not dropped, so what this op creates for them is
  /// scratch, which other ops of the recomputation may modify but nobody reads.
  OpIndex emit_again(const OpRule& rule, const Position& at, const std::set<TensorRole>& kept,
                     std::span<const OpIndex> after = {});

  /// The last op of a queue. Requires: it has one.
  OpIndex last(Queue queue) const;
  /// Index that the next op will get.
  OpIndex next() const { return static_cast<OpIndex>(out_.ops.size()); }

  /// Marks releases and closes the lists. Nothing may be emitted afterwards.
  void finish();

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  OpIndex add(const OpRule& rule, const Position& at, Pass pass, const std::set<TensorRole>* kept,
              std::span<const OpIndex> after);
  /// Index of the tensor that a role stands for now.
  TensorIndex& bound(TensorRole role, std::int64_t layer, std::int64_t micro_batch);
  void depend(OpIndex on);

  RankClass& out_;
  std::vector<std::int64_t> row_of_layer_;  // by global layer; -1: not of this class
  std::int64_t rows_per_micro_batch_ = 0;
  /// By queue and other queue: the latest op of the other that this one has waited for.
  std::array<std::array<std::optional<OpIndex>, kNumQueues>, kNumQueues> waited_;
  std::map<TensorRole, TensorIndex> scratch_;  // of the recomputation at hand
  std::vector<TensorIndex> bound_;             // by (micro-batch, layer, role); kNone: no such tensor yet
  std::vector<OpIndex> last_writer_;           // by tensor
  std::vector<std::uint32_t> last_use_;        // by tensor: index into RankClass::uses
};

}  // namespace orrery::lowering
