// SPDX-License-Identifier: Apache-2.0
// The pass over the ops against the event simulation: the same bits wherever rates are fixed.
#include "costmodel/run_in_order.h"

#include "base/errors.h"
#include "costmodel/calibrated_cost_model.h"
#include "program/hf_config.h"
#include "program/lower.h"
#include "tests/conformance/golden_pipelines.h"
#include "tests/conformance/random_programs.h"
#include "tests/unit/costmodel/flop_cost_model.h"
#include "tests/unit/costmodel/varied_cases.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using testing::Draws;
using testing::NanosecondPerByte;
using testing::PicosecondPerFlop;
using testing::ProgramBuilder;
using testing::small_cluster;

/// Requires of the pass that it comes to the end, and that it gives what the event simulation gives.
void expect_times_of_events(const TimedProgram& timed) {
  ASSERT_TRUE(rates_are_fixed(timed));
  const OpTimes events = run_events(timed, true);
  const std::optional<OpTimes> kept = run_in_order(timed, true), without = run_in_order(timed, false);
  ASSERT_TRUE(kept && without);
  EXPECT_EQ(kept->makespan, events.makespan);
  EXPECT_EQ(without->makespan, events.makespan);
  EXPECT_TRUE(without->ranks.empty());
  ASSERT_EQ(kept->ranks.size(), events.ranks.size());
  for (std::size_t r = 0; r < events.ranks.size(); ++r) {
    ASSERT_TRUE(kept->ranks[r].ready == events.ranks[r].ready) << "rank " << r;
    ASSERT_TRUE(kept->ranks[r].start == events.ranks[r].start) << "rank " << r;
    ASSERT_TRUE(kept->ranks[r].end == events.ranks[r].end) << "rank " << r;
    ASSERT_TRUE(kept->ranks[r].last_peer == events.ranks[r].last_peer) << "rank " << r;
  }
}

TEST(RunInOrder, GivesTheTimesOfTheEventsForEverySchedule) {
  const std::vector<testing::GoldenPipeline> pipelines = testing::golden_pipelines();
  ASSERT_EQ(pipelines.size(), 50);
  for (const testing::GoldenPipeline& pipeline : pipelines) {
    SCOPED_TRACE(pipeline.name);
    const Cluster cluster = small_cluster(1, pipeline.num_ranks);
    const StepProgram by_hand = pipeline.program(), lowered = pipeline.lowered();
    expect_times_of_events(time_program(by_hand, NanosecondPerByte(cluster), cluster, {}, {}));
    expect_times_of_events(time_program(lowered, testing::OneOpForASlot(pipeline.times), cluster, {}, {}));
  }
}

TEST(RunInOrder, GivesTheTimesOfTheEventsForRandomStrategies) {
  testing::for_varied_cases(400, [&](const testing::RandomCase& c, std::uint64_t index) {
    SCOPED_TRACE("case " + std::to_string(index));
    const Cluster cluster = small_cluster((c.num_devices + 3) / 4, 4);
    const StepProgram program = lower(c.model, c.strategy, c.batch, c.num_devices);
    RunInput input;
    if (index % 4 == 0) input.load = DirichletLoad{.alpha = 0.5, .seed = index};  // every rank on its own
    expect_times_of_events(time_program(program, PicosecondPerFlop(cluster), cluster, {}, input));
  });
}

TEST(RunInOrder, GivesTheTimesOfTheEventsForRandomPrograms) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Draws draws{.rng = CounterRng(seed, 0)};
    const auto num_stages = static_cast<std::int64_t>(1 + draws.below(4));
    const auto ranks_per_stage = static_cast<std::int64_t>(1 + draws.below(2));
    const ProgramBuilder builder = testing::random_program(draws, num_stages, ranks_per_stage, 300);
    const Cluster cluster = small_cluster(num_stages, ranks_per_stage);
    const RunInput input{.all_ranks = seed % 2 == 0};
    expect_times_of_events(time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, input));
  }
}

TEST(RunInOrder, GivesTheTimesOfTheEventsForDeepSeekV3) {
  const std::string folder = std::string(ORRERY_SOURCE_DIR) + "/catalog";
  const Model model = read_model(folder + "/models/deepseek-v3.json");
  const Cluster cluster = read_cluster(folder + "/clusters/h800-2048.json", folder);
  Strategy strategy;
  strategy.pp = 16;
  strategy.ep = 64;
  strategy.zero_dense = strategy.zero_expert = 1;
  strategy.stages = even_stages(model.num_layers(), strategy.pp);
  const StepProgram program = lower(model, strategy, {.seq = 4096, .global_batch = 3840}, 2048);
  const CalibratedCostModel cost(cluster, read_calibration(folder + "/calibration/h800.json"));
  TimedProgram timed = time_program(program, cost, cluster, {}, {});
  EXPECT_FALSE(rates_are_fixed(timed));
  EXPECT_EQ(run_step(timed, false).makespan, run_events(timed, false).makespan);
  for (TimedRank& rank : timed.ranks) {
    rank.overlap = {};
    rank.slowdown = {};
  }
  expect_times_of_events(timed);
  EXPECT_EQ(run_step(timed, false).makespan, run_events(timed, false).makespan);
}

/// A compute op beside a message.
struct TwoOps {
  Cluster cluster = small_cluster(1, 2);
  ProgramBuilder builder{2, 1};
  TimedProgram timed;

  TwoOps() {
    builder.compute(0, microseconds(10));
    builder.send_next(0, 100000);
    builder.recv_prev(1, 100000);
    timed = time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, {});
  }
};

TEST(RunInOrder, IsForProgramsInWhichNothingIsSlowed) {
  TwoOps ops;
  TimedRank& rank = ops.timed.ranks[0];
  EXPECT_TRUE(rates_are_fixed(ops.timed));
  rank.overlap = {.compute_slowdown = 0.19};
  EXPECT_FALSE(rates_are_fixed(ops.timed));
  rank.slowdown = {0.0F, 0.19F};  // of the message, which it does not slow
  EXPECT_TRUE(rates_are_fixed(ops.timed));
  rank.slowdown = {0.25F, 0.19F};
  EXPECT_FALSE(rates_are_fixed(ops.timed));
  rank.slowdown = {};
  rank.overlap = {.comm_slowdown = 0.19};
  EXPECT_FALSE(rates_are_fixed(ops.timed));
}

TEST(RunInOrder, NamesTheLowestOfTheRanksThatCameLast) {
  ProgramBuilder builder(4, 1);
  std::vector<OpIndex> ops;
  for (const double time : {2.0, 9.0, 9.0, 5.0}) {
    const auto stage = static_cast<std::int64_t>(ops.size());
    const OpIndex before = builder.compute(stage, microseconds(time));
    ops.push_back(builder.all_reduce(stage, Queue::world, Group::world, 8, {before}));
  }
  const Cluster cluster = small_cluster(1, 4);
  const TimedProgram timed = time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, {});
  const OpTimes times = run_step(timed, true);
  const std::vector<std::int32_t> expected = {1, -1, -1, 1};
  for (std::size_t r = 0; r < ops.size(); ++r) {
    EXPECT_EQ(times.ranks[r].last_peer[ops[r]], expected[r]) << "rank " << r;
    EXPECT_EQ(times.ranks[r].start[ops[r]], microseconds(9)) << "rank " << r;
  }
}

// Each rank computes on what the other sends, and sends only behind that: as calls that wait this would be a deadlock,
// on queues of their own the message of rank 0 leaves at once.
TEST(RunInOrder, LeavesToTheEventsWhatOnlyTheQueuesAllow) {
  ProgramBuilder builder(2, 1);
  const OpIndex gradient = builder.recv_next(0, 100000);
  builder.compute(0, microseconds(3), {gradient});
  builder.send_next(0, 100000);
  const OpIndex input = builder.recv_prev(1, 100000);
  builder.send_prev(1, 100000, {input});
  const Cluster cluster = small_cluster(1, 2);
  const TimedProgram timed = time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, {});
  EXPECT_FALSE(run_in_order(timed, false));
  EXPECT_DOUBLE_EQ(run_step(timed, false).makespan.in(unit::microsecond), 7.0);  // two messages of 2 us, then compute
}

TEST(RunInOrder, LeavesADeadlockToTheEventsWhichNameTheOps) {
  ProgramBuilder builder(2, 1);
  builder.send_next(0, 100);
  builder.compute(1, microseconds(1));  // stage 1 never receives
  const Cluster cluster = small_cluster(1, 2);
  const TimedProgram timed = time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, {});
  EXPECT_FALSE(run_in_order(timed, false));
  try {
    run_step(timed, false);
    FAIL() << "a deadlock was not noticed";
  } catch (const InternalError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("rank 0 step/mb0/stage0/layer0/fwd/pp.send_act; "));
  }
}

}  // namespace
}  // namespace orrery::costmodel
