// SPDX-License-Identifier: Apache-2.0
// What the slots of one virtual stage take: layers, ends, messages, weights that ZeRO gathers and activations that
// offload brings back, put together.
#pragma once

#include "costmodel/rank_states.h"
#include "costmodel/tensor_lives.h"
#include "program/schedule.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace orrery::costmodel {

/// A slot: an arriving message, the work, a leaving message.
struct SlotLives {
  LiveBytes receive;
  LifeSegments work;
  LiveBytes send;     // what it releases, less than nothing
  LifeSegment total;  // all of it
  void add_up();
};

/// One stage, for one micro-batch. The bytes are those of the counts of HeldByStage.
struct StageLives {
  SlotLives forward, backward, input_grad, weight_grad;
  LiveBytes activations, weight_grads, outputs, gradients;

  const SlotLives& of(Slot::Kind kind) const;
};

/// Which of the two kinds of backward a schedule has; both in some.
struct BackwardKinds {
  bool whole = false, split = false;
};

/// Makes stages from the tables of a model, each table and each kind of layer once.
class StageLivesMaker {
 public:
  StageLivesMaker(const TableSizes& sizes, const Mesh& mesh);

  /// A stage with these stages around it; stages that are alike are made once. The reference holds as long as this
  /// object.
  const StageLives& stage(const StageLayout& layout, const StageNeighbours& neighbours, BackwardKinds kinds);

  /// The parts of a layer, with a whole backward or a split one.
  const TensorLives::Parts& layer(LayerKind kind, const std::set<RecomputeModule>& recompute, bool split);

 private:
  using Part = TensorLives::Part;
  using Parts = TensorLives::Parts;
  /// A unit of a slot: its ops, and bytes of its gathered weights.
  struct Unit {
    const LifeSegments* work;
    LiveBytes offloaded;  // nothing for the ends of the model
    double dense = 0.0, expert = 0.0;
  };

  StageLives make(const StageLayout& layout, const StageNeighbours& neighbours, BackwardKinds kinds);
  const TensorTable& ffn(LayerKind kind);
  std::int64_t num_modules() const;
  /// What a framework saves beside ours, from the end of the forward to the end of the backward.
  void add_framework(LayerKind kind, Parts& parts) const;
  double bucket(const RankElements& elements) const;
  Unit unit(const UnitLives& lives, const RankElements& elements, bool is_layer) const;

  void add_layer_forward(LayerKind kind, int position, TensorLives& lives);
  void add_layer_gradients(LayerKind kind, const std::set<RecomputeModule>& recompute, bool split, int position,
                           TensorLives& lives);
  void add_layer_weight_grads(LayerKind kind, Part part, int position, TensorLives& lives);
  Parts embedding(bool split) const;
  /// Prediction modules and heads behind the layers of a stage; `elements` gets those of each unit.
  Parts tail(const StageLayout& layout, const StageNeighbours& neighbours, bool split,
             std::vector<RankElements>& elements);
  LifeSegments slot(const std::vector<Unit>& units, Part part) const;

  const TableSizes& sizes_;
  ElementCounts counts_;
  bool gathers_dense_ = false, gathers_expert_ = false;  // weights: ZeRO 3
  bool buckets_dense_ = false, buckets_expert_ = false;  // gradients: ZeRO 2 and 3
  const TensorTable attention_;
  std::optional<TensorTable> dense_, moe_;
  const TensorTable embedding_;
  std::optional<TensorTable> head_, adding_head_, mtp_, adding_mtp_;
  std::map<std::tuple<LayerKind, std::uint32_t, bool>, Parts> layers_;  // modules as bits
  std::unordered_map<std::string, StageLives> stages_;
};

}  // namespace orrery::costmodel
