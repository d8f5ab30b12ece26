// SPDX-License-Identifier: Apache-2.0
// Layers and ends of a model as pieces of stages: what their tensors take over the slots of a micro-batch. Each piece
// is made once, for all stages that are laid of it and for all shardings that differ in what they gather: a search asks
// for hundreds of stages, and they consist of a few dozens of pieces.
#pragma once

#include "costmodel/rank_states.h"
#include "costmodel/tensor_lives.h"
#include "program/schedule.h"

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

namespace orrery::costmodel {

class PieceLives {
 public:
  using Parts = TensorLives::Parts;

  /// `sizes`, and what they refer to, must outlive it. Of the strategy its operators count, not its sharding.
  explicit PieceLives(const TableSizes& sizes);

  /// Gradients that are reduced within slots (ZeRO 2 and 3), in a bucket that lives as long as its unit.
  struct InBuckets {
    bool dense = false, expert = false;
    auto operator<=>(const InBuckets&) const = default;
  };

  /// The parts of a layer, with a whole backward or a split one.
  const Parts& layer(LayerKind kind, const std::set<RecomputeModule>& recompute, bool split, InBuckets buckets);
  const Parts& embedding(bool split, InBuckets buckets);

  /// Prediction modules and heads behind the layers of a stage, with the elements of each unit.
  struct Tail {
    Parts parts;
    std::vector<RankElements> elements;
  };
  /// `before`: where the hidden states come from.
  const Tail& tail(const StageLayout& layout, Neighbour before, bool split, InBuckets buckets);

  ElementCounts& counts() { return counts_; }
  std::int64_t num_modules() const;

 private:
  using Part = TensorLives::Part;

  const TensorTable& ffn(LayerKind kind);
  /// What a framework saves beside ours, from the end of the forward to the end of the backward.
  void add_framework(LayerKind kind, Parts& parts) const;
  double bucket(const RankElements& elements, InBuckets buckets) const;
  void add_layer_forward(LayerKind kind, int position, TensorLives& lives);
  void add_layer_gradients(LayerKind kind, const std::set<RecomputeModule>& recompute, bool split, int position,
                           TensorLives& lives);
  void add_layer_weight_grads(LayerKind kind, Part part, int position, TensorLives& lives);

  const TableSizes& sizes_;
  ElementCounts counts_;
  const TensorTable attention_;
  std::optional<TensorTable> dense_, moe_;
  const TensorTable embedding_;
  std::optional<TensorTable> head_, adding_head_, mtp_, adding_mtp_;
  std::map<std::tuple<LayerKind, std::uint32_t, bool, InBuckets>, Parts> layers_;  // modules as bits
  std::map<std::pair<bool, InBuckets>, Parts> embeddings_;
  std::map<std::tuple<std::int64_t, bool, std::uint32_t, bool, bool, InBuckets>, Tail> tails_;
};

}  // namespace orrery::costmodel
