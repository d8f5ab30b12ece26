// SPDX-License-Identifier: Apache-2.0
// What the slots of one virtual stage take: layers, ends, messages, weights that ZeRO gathers and activations that
// offload brings back, put together.
#pragma once

#include "costmodel/piece_lives.h"
#include "program/schedule.h"

#include <cstdint>
#include <memory>
#include <set>
#include <string>
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

/// Makes stages from the pieces of a model.
class StageLivesMaker {
 public:
  /// With pieces of its own, or with those that others have who differ in nothing but sharding and offload.
  StageLivesMaker(const TableSizes& sizes, const Mesh& mesh);
  StageLivesMaker(const TableSizes& sizes, const Mesh& mesh, std::shared_ptr<PieceLives> pieces);

  /// A stage with these stages around it; stages that are alike are made once. The reference holds as long as this
  /// object.
  const StageLives& stage(const StageLayout& layout, const StageNeighbours& neighbours, BackwardKinds kinds);

  /// The parts of a layer, with a whole backward or a split one.
  const TensorLives::Parts& layer(LayerKind kind, const std::set<RecomputeModule>& recompute, bool split) {
    return pieces_->layer(kind, recompute, split, buckets_);
  }

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
  Unit unit(const UnitLives& lives, const RankElements& elements, bool is_layer) const;
  LifeSegments slot(const std::vector<Unit>& units, Part part) const;

  const TableSizes& sizes_;
  const std::shared_ptr<PieceLives> pieces_;
  bool gathers_dense_ = false, gathers_expert_ = false;  // weights: ZeRO 3
  PieceLives::InBuckets buckets_;
  std::unordered_map<std::string, StageLives> stages_;
};

}  // namespace orrery::costmodel
