// SPDX-License-Identifier: Apache-2.0
// ZeRO 2 and 3 (Rajbhandari et al., arXiv 1910.02054; PyTorch FSDP2): parameters are exchanged by unit, which is a
// layer or an end of the model. Stage 3 gathers the weights of a unit before its forward and again before its backward,
// one unit ahead of the arithmetic, and drops them behind it; stages 2 and 3 reduce the gradients of a unit to shards
// behind each of its backwards, so that only one unit's whole gradients exist at a time. Dense weights and experts have
// their own groups and stages. With hybrid sharding gradient shards are then summed over the instances.
#pragma once

#include "program/lowering/parameter_kind.h"
#include "program/lowering/slot_stream.h"
#include "program/mesh.h"

#include <deque>

namespace orrery::lowering {

/// Trained elements of one unit on one rank.
struct UnitElements {
  std::int64_t dense = 0, expert = 0;
  std::int64_t of(FlatBufferKind kind) const { return kind == FlatBufferKind::dense ? dense : expert; }
};

/// Of a layer, prediction modules counted on behind the last, or of OpKey::kEmbed and OpKey::kHead.
UnitElements unit_elements(const Model& model, const Strategy& strategy, std::int16_t key_layer);

class ParameterUnits {
 public:
  ParameterUnits(const RuleContext& context, const Mesh& mesh) : c_(context), mesh_(mesh) {}
  ParameterUnits(const ParameterUnits&) = delete;
  ParameterUnits& operator=(const ParameterUnits&) = delete;

  /// Adds to a stream of such slots what its strategy exchanges. Rules that it adds live as long as this object.
  void apply(Slot::Kind kind, Stream& stream);

 private:
  void gather_weights(const ParameterKind& parameters, Pass pass, Stream& stream);
  void reduce_gradients(const ParameterKind& parameters, Stream& stream);
  const OpRule* keep(OpRule rule);
  OpRule exchange(OpCode op, Pass pass, Queue queue, Group group, CollectiveKind kind, std::int64_t bytes,
                  const std::vector<RoleUse>& uses) const;

  const RuleContext& c_;
  const Mesh& mesh_;
  std::deque<OpRule> rules_;
};

}  // namespace orrery::lowering
