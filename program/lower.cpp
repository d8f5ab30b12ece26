// SPDX-License-Identifier: Apache-2.0
#include "program/lower.h"

#include "base/check.h"
#include "program/legality.h"
#include "program/lower_in_buckets.h"
#include "program/lower_order.h"
#include "program/lowering/stage_program.h"

#include <optional>
#include <utility>

namespace orrery {
namespace lowering {

ModelRules::ModelRules(const RuleContext& context)
    : model_(context.model), embedding_(embedding_rules(context)), head_(head_rules(context, false)) {
  for (std::int64_t layer = 0; layer < model_.num_layers(); ++layer) {
    if (!attention_.contains(model_.span(layer))) attention_[model_.span(layer)] = attention_rules(context, layer);
  }
  if (model_.dense_width > 0) dense_ffn_ = dense_ffn_rules(context);
  if (model_.moe) moe_ffn_ = moe_ffn_rules(context);
  if (num_mtp_modules(model_, context.strategy.mtp) == 0) return;
  adding_head_ = head_rules(context, true);
  mtp_ = mtp_rules(context, false);
  adding_mtp_ = mtp_rules(context, true);
}

ClassContext::ClassContext(const RuleContext& the_rules_context, const ModelRules& the_rules, const Mesh& the_mesh,
                           std::int64_t rank, std::int64_t micro_batches)
    : rules_context(the_rules_context),
      rules(the_rules),
      mesh(the_mesh),
      pipeline_rank(rank),
      num_micro_batches(micro_batches) {
  const Strategy& strategy = rules_context.strategy;
  const std::vector<std::int64_t> held = stages_of(strategy, rank);
  for (std::size_t chunk = 0; chunk < held.size(); ++chunk) {
    const StageLayout& layout = strategy.stages[static_cast<std::size_t>(held[chunk])];
    const StageNeighbours neighbours = neighbours_of(strategy, rank, chunk);
    bool mtp_before = false;
    for (std::int64_t s = 0; s < held[chunk]; ++s) {
      mtp_before = mtp_before || strategy.stages[static_cast<std::size_t>(s)].num_mtp > 0;
    }
    stages.push_back({rules_context,
                      mesh,
                      rules,
                      layout,
                      held[chunk],
                      {.neighbour = neighbours.before, .with_mtp = mtp_before},
                      {.neighbour = neighbours.behind, .with_mtp = mtp_before || layout.num_mtp > 0}});
  }
}

std::vector<std::int64_t> ClassContext::layers() const {
  std::vector<std::int64_t> out;
  for (const StageContext& stage : stages) {
    for (std::int64_t layer = stage.first_layer(); layer <= stage.end_layer(); ++layer) out.push_back(layer);
    if (stage.layout.embedding) out.push_back(embedding_position(rules_context.model, rules_context.strategy));
    if (stage.end_layer() != stage.num_layers()) continue;
    const std::int64_t mtp = num_mtp_modules(rules_context.model, rules_context.strategy.mtp);
    for (std::int64_t at = mtp_position(stage.num_layers(), 0); at < mtp_position(stage.num_layers(), mtp); ++at) {
      out.push_back(at);
    }
  }
  return out;
}

std::vector<StageLayout> ClassContext::layouts() const {
  std::vector<StageLayout> out;
  for (const StageContext& stage : stages) out.push_back(stage.layout);
  return out;
}

}  // namespace lowering

namespace {

struct Lowering {
  std::optional<std::int64_t> least_bucket = {};
  bool keeps_tensors = true;
};

/// Room for as much as the class before has: they are about as long as each other.
void reserve_as(const RankClass& before, RankClass& rank_class) {
  rank_class.ops.reserve(before.ops.size());
  rank_class.dep_begin.reserve(before.dep_begin.size());
  rank_class.deps.reserve(before.deps.size());
  rank_class.use_begin.reserve(before.use_begin.size());
  rank_class.uses.reserve(before.uses.size());
  rank_class.tensors.reserve(before.tensors.size());
}

/// The tensors of one class after the other in the memory of the first, where nobody keeps them.
void move_tensors(RankClass& from, RankClass& to) {
  to.use_begin = std::move(from.use_begin);
  to.uses = std::move(from.uses);
  to.tensors = std::move(from.tensors);
  to.use_begin.clear();
  to.uses.clear();
  to.tensors.clear();
}

StepProgram lowered(const Model& model, const Strategy& strategy, const BatchShape& batch, std::int64_t num_devices,
                    const Lowering& how) {
  CHECK(violations(model, strategy, batch, num_devices).empty());
  StepProgram program{.model = model, .strategy = strategy, .batch = batch, .mesh = Mesh(strategy, num_devices)};
  program.num_micro_batches = batch.global_batch / (program.mesh.dp() * strategy.micro_batch);

  lowering::ShapeTable shapes;
  const lowering::RuleContext rules_context(program.model, program.strategy, batch, shapes);
  const lowering::ModelRules rules(rules_context);
  RankClass dropped;
  for (std::int64_t rank = 0; rank < strategy.pp; ++rank) {
    RankClass& rank_class = program.classes.emplace_back();
    rank_class.pipeline_rank = rank;
    rank_class.stages = stages_of(strategy, rank);
    lowering::ClassContext context(rules_context, rules, program.mesh, rank, program.num_micro_batches);
    context.least_bucket = how.least_bucket;
    if (rank > 0) reserve_as(program.classes[static_cast<std::size_t>(rank - 1)], rank_class);
    if (!how.keeps_tensors) move_tensors(dropped, rank_class);
    lowering::ClassBuilder builder(rank_class, context.layers(), program.num_micro_batches);
    const lowering::BucketedGradients bucketed = lowering::emit_slots(context, builder);
    lowering::emit_step_end(context, bucketed, builder);
    builder.finish();
    if (!how.keeps_tensors) move_tensors(rank_class, dropped);
  }
  program.shapes = std::move(shapes).take();
  return program;
}

}  // namespace

StepProgram lower(const Model& model, const Strategy& strategy, const BatchShape& batch, std::int64_t num_devices) {
  return lowered(model, strategy, batch, num_devices, {});
}

StepProgram lower_order(const Plan& plan) {
  StepProgram program = lowered(plan.model, plan.strategy, plan.batch, plan.num_ranks(), {.keeps_tensors = false});
  program.experts = plan.experts;
  return program;
}

StepProgram lower_in_buckets(const Model& model, const Strategy& strategy, const BatchShape& batch,
                             std::int64_t num_devices, std::int64_t least_bucket) {
  return lowered(model, strategy, batch, num_devices, {.least_bucket = least_bucket});
}

}  // namespace orrery
