// SPDX-License-Identifier: Apache-2.0
#include "program/lower.h"

#include "base/check.h"
#include "program/legality.h"
#include "program/lowering/stage_program.h"

namespace orrery {
namespace lowering {

ModelRules::ModelRules(const RuleContext& context)
    : attention(attention_rules(context)), embedding(embedding_rules(context)), head(head_rules(context)) {
  if (context.model.dense_width > 0) dense_ffn = dense_ffn_rules(context);
  if (context.model.moe) moe_ffn = moe_ffn_rules(context);
}

}  // namespace lowering

StepProgram lower(const Model& model, const Strategy& strategy, const BatchShape& batch, std::int64_t num_devices) {
  CHECK(violations(model, strategy, batch, num_devices).empty());
  StepProgram program{.model = model, .strategy = strategy, .batch = batch, .mesh = Mesh(strategy, num_devices)};
  program.num_micro_batches = batch.global_batch / (program.mesh.dp() * strategy.micro_batch);

  lowering::ShapeTable shapes;
  const lowering::RuleContext rules_context(program.model, program.strategy, batch, shapes);
  const lowering::ModelRules rules(rules_context);
  for (std::int64_t stage = 0; stage < strategy.pp; ++stage) {
    const StageLayout& layout = strategy.stages[static_cast<std::size_t>(stage)];
    RankClass& rank_class = program.classes.emplace_back();
    rank_class.pipeline_rank = stage;
    rank_class.stages = {stage};
    lowering::ClassBuilder builder(rank_class, layout.first_layer, layout.num_layers, program.num_micro_batches);
    const lowering::StageContext context{rules_context, rules, program.mesh, layout, stage, program.num_micro_batches};
    lowering::emit_slots(context, builder);
    lowering::emit_step_end(context, builder);
    builder.finish();
  }
  program.shapes = std::move(shapes).take();
  return program;
}

}  // namespace orrery
