// SPDX-License-Identifier: Apache-2.0
// What the pieces of a stage take: the two halves of a layer, each part of which can be run again, and the ends of the
// model. Strategies that differ in nothing that decides the ops of a piece share it: attention knows nothing of
// experts, and no piece of the order of slots, of sharding or of which communication hides. So a search that asks of
// thousands of strategies adds a few pieces up for each, and asks about their ops once.
#pragma once

#include "costmodel/block_times.h"
#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace orrery::costmodel {

/// The halves of a layer; and the ends of the model, and what a prediction module has before its layer, each with or
/// without another one that adds to the same gradient; of the latter the embedding, forward.
enum class Piece : std::uint8_t { attention, dense, moe, embedding, mtp, mtp_apart, head, head_behind_mtp, mtp_lookup };

class PieceTimes {
 public:
  /// Of this model, which must outlive it, and batch, in the answers of one cost model. Not thread-safe.
  PieceTimes(const Model& model, const BatchShape& batch) : model_(model), batch_(batch) {}

  /// Of a piece for one micro-batch; of attention with `span`. `timer` is asked, of `strategy`. The reference holds
  /// until the next question.
  const BlockTimes& once(Piece piece, const AttentionSpan& span, const Strategy& strategy, ClosedTimer& timer);
  /// What a part of the piece takes when its forward is run again.
  const BlockTimes& again(Piece piece, OpPart part, const AttentionSpan& span, const Strategy& strategy,
                          ClosedTimer& timer);

 private:
  static constexpr std::size_t kMost = 2048;  // a search has far more, and returns to few of them

  struct Times {
    std::optional<BlockTimes> once;
    std::vector<BlockTimes> again;  // by part; empty: not asked yet
  };
  /// What decides the ops of a piece, and what exchanges beside them hold, which their slowdowns depend on.
  using Key =
      std::tuple<Piece, AttentionSpan, std::array<std::int64_t, 14>, std::optional<double>, std::optional<double>>;
  struct Hash {
    std::size_t operator()(const Key& key) const;
  };
  static Key key_of(Piece piece, const AttentionSpan& span, const Strategy& strategy, const ClosedTimer& timer);
  Times& times_of(Piece piece, const AttentionSpan& span, const Strategy& strategy, const ClosedTimer& timer);
  std::vector<LayerOp> ops_of(Piece piece, const AttentionSpan& span, const Strategy& strategy) const;

  const Model& model_;
  const BatchShape batch_;
  std::unordered_map<Key, Times, Hash> times_;
};

}  // namespace orrery::costmodel
