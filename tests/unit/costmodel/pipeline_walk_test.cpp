// SPDX-License-Identifier: Apache-2.0
#include "costmodel/pipeline_walk.h"

#include "program/schedule.h"
#include "tests/unit/program/slot_simulator.h"
#include "tests/unit/program/small_models.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr Schedule kAll[] = {Schedule::gpipe, Schedule::one_f_one_b, Schedule::interleaved, Schedule::zb_h1,
                             Schedule::zb_h2, Schedule::zbv,         Schedule::dualpipe,    Schedule::dualpipev};

Strategy pipeline(Schedule schedule, std::int64_t pp) {
  Strategy strategy;
  strategy.schedule = schedule;
  strategy.pp = pp;
  strategy.vpp = testing::least_vpp(schedule);
  return strategy;
}

SlotTimes slots(double forward, double input_grad, double weight_grad, double message) {
  return {.forward = seconds(forward),
          .input_grad = seconds(input_grad),
          .weight_grad = seconds(weight_grad),
          .forward_exchanges = {},
          .backward_exchanges = {},
          .message = seconds(message)};
}

PipelineTimes equal_stages(const Strategy& strategy, const SlotTimes& times) {
  PipelineTimes out;
  for (std::int64_t rank = 0; rank < strategy.pp; ++rank) out.emplace_back(stages_of(strategy, rank).size(), times);
  return out;
}

Seconds makespan(const std::vector<RankWalk>& ranks) {
  Seconds last;
  for (const RankWalk& rank : ranks) last = std::max(last, rank.end);
  return last;
}

Seconds equal_makespan(Schedule schedule, std::int64_t pp, std::int64_t m, const SlotTimes& times) {
  const Strategy strategy = pipeline(schedule, pp);
  return makespan(walk_pipeline(strategy, m, equal_stages(strategy, times)));
}

// A forward, a message and 4 of the backward's 10 later: the other 6 the first rank has done while it waited.
TEST(PipelineWalk, RunsTheLeadOfABackwardWhileItsGradientIsOnTheWay) {
  SlotTimes times = slots(10, 10, 0, 1);
  times.lead = seconds(6);
  EXPECT_EQ(equal_makespan(Schedule::gpipe, 2, 1, times), seconds(10 + 1 + 10 + 10 + 1 + 4));
  times.lead = seconds(0);
  EXPECT_EQ(equal_makespan(Schedule::gpipe, 2, 1, times), seconds(10 + 1 + 10 + 10 + 1 + 10));
}

// Golden makespans of tests/data/goldens/pipelines.json (F = 10, I = W = 10).
TEST(PipelineWalk, GivesGoldenMakespansOfEqualStages) {
  EXPECT_EQ(equal_makespan(Schedule::gpipe, 4, 8, slots(10, 10, 10, 0)), seconds(330));
  EXPECT_EQ(equal_makespan(Schedule::one_f_one_b, 4, 8, slots(10, 10, 10, 0)), seconds(330));
  EXPECT_EQ(equal_makespan(Schedule::one_f_one_b, 8, 32, slots(10, 10, 10, 0)), seconds(1170));
  EXPECT_EQ(equal_makespan(Schedule::one_f_one_b, 4, 16, slots(10, 10, 10, 1)), seconds(598));
  EXPECT_EQ(equal_makespan(Schedule::one_f_one_b, 4, 16, slots(10, 10, 10, 2)), seconds(626));
}

TEST(PipelineWalk, HasNoBubbleAndNoMessagesOnOneRank) {
  EXPECT_EQ(equal_makespan(Schedule::one_f_one_b, 1, 5, slots(10, 10, 10, 7)), seconds(150));
  EXPECT_EQ(equal_makespan(Schedule::gpipe, 1, 5, slots(10, 10, 10, 7)), seconds(150));
  EXPECT_EQ(equal_makespan(Schedule::zbv, 1, 5, slots(10, 10, 10, 7)), seconds(300));
}

// With F = I = W and free messages the bubbles of docs/design/schedules.md hold exactly.
TEST(PipelineWalk, GivesTheBubbleFormulasOfEverySchedule) {
  for (const std::int64_t p : {2, 4, 8}) {
    const auto m = static_cast<double>(4 * p), n = static_cast<double>(p);
    const auto bubble = [&](Schedule schedule) {
      const double chunks = schedule == Schedule::interleaved || testing::least_vpp(schedule) == 2 ? 2.0 : 1.0;
      return (equal_makespan(schedule, p, 4 * p, slots(10, 10, 10, 0)) - seconds(30.0 * m * chunks)) / seconds(10);
    };
    EXPECT_EQ(bubble(Schedule::gpipe), 3.0 * (n - 1.0)) << p;
    EXPECT_EQ(bubble(Schedule::one_f_one_b), 3.0 * (n - 1.0)) << p;
    EXPECT_EQ(bubble(Schedule::interleaved), 3.0 * (n - 1.0)) << p;
    EXPECT_EQ(bubble(Schedule::zb_h1), n - 1.0) << p;
    EXPECT_EQ(bubble(Schedule::zb_h2), n - 1.0) << p;
    EXPECT_EQ(bubble(Schedule::zbv), n - 1.0) << p;
  }
}

// GPipe: sum F + (m-1) max F + sum B + (m-1) max B + 2 (p-1) C, for any stages.
TEST(PipelineWalk, GivesTheFormulaOfGPipeForUnequalStages) {
  const Strategy strategy = pipeline(Schedule::gpipe, 4);
  PipelineTimes times = equal_stages(strategy, slots(10, 9, 11, 2));
  times[2][0] = slots(14, 13, 13, 2);
  EXPECT_EQ(makespan(walk_pipeline(strategy, 8, times)), seconds(44 + 7 * 14 + 86 + 7 * 26 + 2 * 3 * 2));
}

TEST(PipelineWalk, LetsTheSlowestStageSetThePace) {
  const Strategy strategy = pipeline(Schedule::one_f_one_b, 4);
  PipelineTimes times = equal_stages(strategy, slots(10, 10, 10, 0));
  times[3][0] = slots(14, 13, 13, 0);
  EXPECT_EQ(makespan(walk_pipeline(strategy, 8, times)), seconds(3 * 30 + 40 + 7 * 40));
}

// An oracle that shares no code: without messages the two must agree to the last bit.
TEST(PipelineWalk, AgreesWithTheSlotSimulatorForEverySchedule) {
  for (const Schedule schedule : kAll) {
    for (const std::int64_t p : {2, 4}) {
      const Strategy strategy = pipeline(schedule, p);
      const std::int64_t m = 2 * p;
      if (schedule_problem(strategy, m)) continue;
      std::vector<std::vector<Slot>> orders;
      for (std::int64_t rank = 0; rank < p; ++rank) orders.push_back(slots_of(strategy, m, rank));
      const auto times_of = [](std::int64_t stage) {
        const auto s = static_cast<double>(stage);
        return testing::SlotTimes{
            .forward = 8.0 + s, .input_grad = 9.0 + s, .weight_grad = 7.0, .pair = 0.0, .message = 0.0};
      };
      // Pairs without exchanges take what both take; the oracle has one time for all, so stages are equal there.
      const bool has_pairs = schedule == Schedule::dualpipe || schedule == Schedule::dualpipev;
      const auto simulated = [&](std::int64_t stage) {
        testing::SlotTimes t = times_of(has_pairs ? 0 : stage);
        t.pair = t.forward + t.backward();
        return t;
      };
      PipelineTimes times;
      for (std::int64_t rank = 0; rank < p; ++rank) {
        times.emplace_back();
        for (const std::int64_t stage : stages_of(strategy, rank)) {
          const testing::SlotTimes t = simulated(stage);
          times.back().push_back(slots(t.forward, t.input_grad, t.weight_grad, 0.0));
        }
      }
      const testing::PipelineReplay oracle = testing::SlotSimulator(orders, simulated).run();
      const std::vector<RankWalk> walked = walk_pipeline(strategy, m, times);
      for (std::size_t rank = 0; rank < walked.size(); ++rank) {
        EXPECT_EQ(walked[rank].end, seconds(oracle.ranks[rank].end)) << name_of(schedule) << ' ' << p;
        EXPECT_EQ(walked[rank].busy, seconds(oracle.ranks[rank].busy)) << name_of(schedule) << ' ' << p;
      }
    }
  }
}

TEST(PipelineWalk, AMessageNeverShortensAStep) {
  for (const Schedule schedule : kAll) {
    Seconds before;
    for (const double message : {0.0, 1.0, 5.0, 20.0}) {
      const Seconds time = equal_makespan(schedule, 4, 8, slots(10, 10, 10, message));
      EXPECT_GE(time, before) << name_of(schedule) << ' ' << message;
      before = time;
    }
  }
}

TEST(PipelineWalk, CoversExchangesOfAPairWithArithmetic) {
  const Strategy strategy = pipeline(Schedule::dualpipe, 2);
  SlotTimes times = slots(10, 10, 10, 0);
  const Seconds serial = makespan(walk_pipeline(strategy, 8, equal_stages(strategy, times)));
  times.forward_exchanges = seconds(3);
  times.backward_exchanges = seconds(6);
  EXPECT_LT(makespan(walk_pipeline(strategy, 8, equal_stages(strategy, times))), serial);
  // The worse they go together, the less is won.
  const OverlapRule rule{.compute_slowdown = 0.5, .comm_slowdown = 0.0};
  EXPECT_LT(makespan(walk_pipeline(strategy, 8, equal_stages(strategy, times))),
            makespan(walk_pipeline(strategy, 8, equal_stages(strategy, times), rule)));
}

TEST(PipelineWalk, SlowsThePairByWhatItsOwnArithmeticLoses) {
  const Strategy strategy = pipeline(Schedule::dualpipe, 2);
  SlotTimes times = slots(10, 10, 10, 0);
  times.forward_exchanges = seconds(3);
  times.backward_exchanges = seconds(6);
  const OverlapRule usual{.compute_slowdown = 0.2, .comm_slowdown = 0.0},
      more{.compute_slowdown = 0.5, .comm_slowdown = 0.0};
  const Seconds expected = makespan(walk_pipeline(strategy, 8, equal_stages(strategy, times), more));
  // 21 seconds of arithmetic beside the exchanges of a pair that lose 0.3 of each second above the usual.
  times.forward_excess = seconds(0.3 * 7);
  times.backward_excess = seconds(0.3 * 14);
  EXPECT_NEAR(makespan(walk_pipeline(strategy, 8, equal_stages(strategy, times), usual)) / expected, 1.0, 1e-12);
}

TEST(SideBySide, IsTheLongerOneUnlessTheyDisturbEachOther) {
  EXPECT_EQ(side_by_side(seconds(10), seconds(4), {}), seconds(10));
  EXPECT_EQ(side_by_side(seconds(3), seconds(4), {}), seconds(4));
  // Four seconds of communication take 6; in them 4.8 of arithmetic are done.
  const OverlapRule rule{.compute_slowdown = 0.25, .comm_slowdown = 0.5};
  EXPECT_NEAR(side_by_side(seconds(10), seconds(4), rule) / seconds(1), 6.0 + 5.2, 1e-12);
  EXPECT_NEAR(side_by_side(seconds(2), seconds(4), rule) / seconds(1), 2.5 + (4.0 - 2.5 / 1.5), 1e-12);
}

}  // namespace
}  // namespace orrery::costmodel
