// SPDX-License-Identifier: Apache-2.0
// The passes that fill one rank class: slots of the schedule become layers forward and backward with the messages
// between stages; then gradients and optimizer close the step.
#pragma once

#include "program/lowering/class_builder.h"
#include "program/lowering/rules.h"
#include "program/mesh.h"
#include "program/schedule.h"

#include <cstdint>

namespace orrery::lowering {

/// Rules of everything that a model can have on a stage, made once per program.
struct ModelRules {
  BlockRules attention, dense_ffn, moe_ffn, embedding, head;

  ModelRules(const RuleContext& context);
  const BlockRules& ffn(LayerKind kind) const { return kind == LayerKind::moe ? moe_ffn : dense_ffn; }
};

/// One pipeline rank under way: what the passes share.
struct StageContext {
  const RuleContext& rules_context;
  const ModelRules& rules;
  const Mesh& mesh;
  const StageLayout& layout;
  std::int64_t stage = 0;
  std::int64_t num_micro_batches = 0;
};

/// Emits all slots of the schedule, messages included.
void emit_slots(const StageContext& context, ClassBuilder& builder);

/// Emits the exchange of gradients, the global norm, the optimizer and the gather of parameters.
void emit_step_end(const StageContext& context, ClassBuilder& builder);

/// Rules of the forward of one layer that run again before its backward, under the stage's recompute modules:
/// some before the FFN's part of the backward, some before the attention's.
struct RecomputeRules {
  std::vector<const OpRule*> before_ffn, before_attention;
  std::set<TensorRole> kept;  // roles that the recomputation creates but the forward did not drop
};

RecomputeRules recompute_rules(const StageContext& context, LayerKind kind, std::int64_t layer);

}  // namespace orrery::lowering
