// SPDX-License-Identifier: Apache-2.0
// The passes that fill one rank class: slots of the schedule become layers forward and backward with the messages
// between stages; then gradients and optimizer close the step.
#pragma once

#include "program/lowering/class_builder.h"
#include "program/lowering/rules.h"
#include "program/mesh.h"
#include "program/schedule.h"

#include <cstdint>
#include <set>
#include <vector>

namespace orrery::lowering {

/// Rules of everything that a model can have on a stage, made once per program.
struct ModelRules {
  BlockRules attention, dense_ffn, moe_ffn, embedding, head;

  ModelRules(const RuleContext& context);
  const BlockRules& ffn(LayerKind kind) const { return kind == LayerKind::moe ? moe_ffn : dense_ffn; }
};

/// One virtual stage of a pipeline rank.
struct StageContext {
  const RuleContext& rules_context;
  const ModelRules& rules;
  const StageLayout& layout;
  std::int64_t stage = 0;
  StageNeighbours neighbours;

  std::int64_t first_layer() const { return layout.first_layer; }
  std::int64_t end_layer() const { return layout.first_layer + layout.num_layers; }
};

/// One pipeline rank under way: what the passes share.
struct ClassContext {
  const RuleContext& rules_context;
  const ModelRules& rules;
  const Mesh& mesh;
  std::int64_t pipeline_rank = 0;
  std::int64_t num_micro_batches = 0;
  std::vector<StageContext> stages;  // in chunk order

  ClassContext(const RuleContext& rules_context, const ModelRules& rules, const Mesh& mesh, std::int64_t pipeline_rank,
               std::int64_t num_micro_batches);
  /// Where its tensors are: the layers of its stages, and the one behind each.
  std::vector<std::int64_t> layers() const;
  std::vector<StageLayout> layouts() const;
};

/// Emits all slots of the schedule, messages included.
void emit_slots(const ClassContext& context, ClassBuilder& builder);

/// Emits the exchange of gradients, the global norm, the optimizer and the gather of parameters.
void emit_step_end(const ClassContext& context, ClassBuilder& builder);

/// Rules of the forward of one layer that run again before its backward, under the stage's recompute modules:
/// some before the FFN's part of the backward, some before the attention's.
struct RecomputeRules {
  std::vector<const OpRule*> before_ffn, before_attention;
  std::set<TensorRole> kept;  // roles that the recomputation creates but the forward did not drop
};

RecomputeRules recompute_rules(const StageContext& context, LayerKind kind, std::int64_t layer);

}  // namespace orrery::lowering
