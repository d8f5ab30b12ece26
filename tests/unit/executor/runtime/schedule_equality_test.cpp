// SPDX-License-Identifier: Apache-2.0
// Pipeline schedules are orders of the same ops: docs/design/equality.md.
#include "tests/unit/executor/runtime/whole_run.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

struct Pipeline {
  Schedule schedule = Schedule::one_f_one_b;
  std::int64_t pp = 2, vpp = 1;
};

Strategy strategy_of(const Model& model, const Pipeline& pipeline, std::int64_t ep = 1) {
  Strategy s = testing::strategy_of(model, 1, ep);
  s.schedule = pipeline.schedule;
  s.pp = pipeline.pp;
  s.vpp = pipeline.vpp;
  s.stages = even_stages(model.num_layers(), s.num_stages());
  return s;
}

const std::vector<Pipeline> kOneDirection = {
    {Schedule::gpipe, 4}, {Schedule::one_f_one_b, 4}, {Schedule::interleaved, 2, 2}, {Schedule::zb_h1, 2},
    {Schedule::zb_h1, 4}, {Schedule::zb_h2, 4},       {Schedule::zbv, 2, 2},         {Schedule::dualpipev, 2, 2}};

TEST(ScheduleEquality, OneDirectionChangesNoBit) {
  const Model model = rich_model();
  const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(3));
  for (const Pipeline& pipeline : kOneDirection) {
    SCOPED_TRACE(name_of(pipeline.schedule));
    const StepProgram program = lower(model, strategy_of(model, pipeline), kBatch, pipeline.pp);
    expect_same_bits(one, run_whole(program, settings_of(3)));
    expect_accounts(program, settings_of(1));
  }
}

// The ends hold embedding and head alone, and one stage has nothing: it sends on what arrives.
TEST(ScheduleEquality, StagesWithoutLayersChangeNoBit) {
  const Model model = rich_model();
  const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(3));
  for (const Pipeline& pipeline : kOneDirection) {
    if (pipeline.pp * pipeline.vpp != 4) continue;
    SCOPED_TRACE(name_of(pipeline.schedule));
    Strategy strategy = strategy_of(model, pipeline);
    strategy.stages = stages_of_counts(std::vector<std::int64_t>{0, model.num_layers(), 0, 0});
    const StepProgram program = lower(model, strategy, kBatch, pipeline.pp);
    expect_same_bits(one, run_whole(program, settings_of(3)));
    expect_accounts(program, settings_of(1));
  }
}

TEST(ScheduleEquality, ExpertParallelRanksDoNotChangeThat) {
  const Model model = rich_model();
  const BatchShape batch{.seq = 16, .global_batch = 16};  // two micro-batches for each stage and rank
  const WholeRun two = run_whole(lower(model, testing::strategy_of(model, 1, 2), batch, 2), settings_of(2));
  for (const Pipeline& pipeline : kOneDirection) {
    SCOPED_TRACE(name_of(pipeline.schedule));
    const StepProgram program = lower(model, strategy_of(model, pipeline, 2), batch, 2 * pipeline.pp);
    expect_same_bits(two, run_whole(program, settings_of(2)));
    expect_accounts(program, settings_of(1));
  }
}

// Two pipeline ranks hold each stage and work on a half of the micro-batches: their sums are added at the end.
TEST(ScheduleEquality, DualPipeReassociatesSums) {
  const Model model = rich_model();
  for (const std::int64_t ep : {1, 2}) {
    const BatchShape batch{.seq = 16, .global_batch = 8 * ep};
    const WholeRun one = run_whole(lower(model, testing::strategy_of(model), batch, 1), settings_of(3));
    for (const std::int64_t pp : {2, 4}) {
      SCOPED_TRACE(pp);
      const StepProgram program = lower(model, strategy_of(model, {Schedule::dualpipe, pp}, ep), batch, pp * ep);
      expect_close(one, run_whole(program, settings_of(3)));
      expect_accounts(program, settings_of(1));
    }
  }
}

bool holds_a_copy(const StepProgram& program) {
  bool found = false;
  for (std::int64_t rank = 0; rank < program.mesh.world(); ++rank) {
    for (const LocalParameter& p :
         local_parameters(program.model, program.strategy, program.mesh, RankId(static_cast<int>(rank)))) {
      found = found || p.stage_copy > 0;
    }
  }
  return found;
}

// A matrix that the first and the last stage hold has two copies, whose gradients are added at the end.
TEST(ScheduleEquality, ATiedHeadOnAnotherStageReassociatesOneSum) {
  Model model = small_model();
  model.tied_embeddings = true;
  const WholeRun one = run_whole(lower(model, testing::strategy_of(model), kBatch, 1), settings_of(3));
  for (const Pipeline& pipeline : {Pipeline{Schedule::one_f_one_b, 2}, Pipeline{Schedule::zb_h1, 4},
                                   Pipeline{Schedule::interleaved, 2, 2}, Pipeline{Schedule::zbv, 2, 2}}) {
    for (const int zero : {0, 1}) {
      SCOPED_TRACE(name_of(pipeline.schedule));
      Strategy s = strategy_of(model, pipeline);
      s.zero_dense = s.zero_expert = zero;
      const StepProgram program = lower(model, s, kBatch, 2 * pipeline.pp);
      // Only zbv has both ends of the model on one rank.
      EXPECT_EQ(holds_a_copy(program), pipeline.schedule != Schedule::zbv);
      expect_close(one, run_whole(program, settings_of(3)));
      expect_accounts(program, settings_of(1));
    }
  }
}

}  // namespace
}  // namespace orrery::executor
