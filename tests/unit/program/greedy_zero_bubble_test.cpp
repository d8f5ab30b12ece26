// SPDX-License-Identifier: Apache-2.0
#include "program/schedules/greedy_zero_bubble.h"

#include "base/errors.h"
#include "base/rng.h"
#include "tests/unit/program/slot_simulator.h"

#include <algorithm>
#include <iterator>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using schedules::greedy_zero_bubble;
using schedules::GreedyOrder;
using schedules::GreedyProblem;
using schedules::StageTimes;
using testing::orders_of;
using testing::PipelineReplay;
using testing::SlotSimulator;
using testing::SlotTimes;
using unit::second;

GreedyProblem equal_ranks(std::int64_t num_ranks, const StageTimes& times, std::int64_t num_micro_batches,
                          std::int64_t max_in_flight) {
  return {.stages = std::vector<StageTimes>(static_cast<std::size_t>(num_ranks), times),
          .message = Seconds::zero(),
          .num_micro_batches = num_micro_batches,
          .max_in_flight = max_in_flight};
}

/// Ranks of different speed, by up to 30 %, with a random split of the backward and a random message.
GreedyProblem random_problem(std::uint64_t index) {
  const CounterRng random(7, index);
  const auto whole = [&](std::uint64_t i, std::uint64_t least, std::uint64_t most) {
    return static_cast<std::int64_t>(least + random.below(i, most - least + 1));
  };
  const auto time = [&](std::uint64_t i) { return static_cast<double>(whole(i, 5, 20)) * second; };
  const std::int64_t num_ranks = whole(0, 1, 8);
  GreedyProblem problem = equal_ranks(num_ranks, {time(1), time(2), time(3)}, whole(4, 1, 24), whole(5, 1, 16));
  problem.message = static_cast<double>(whole(6, 0, 3)) * second;
  for (std::uint64_t r = 0; r < problem.stages.size(); ++r) {
    StageTimes& stage = problem.stages[r];
    const double slower = 1 + 0.3 * random.uniform(7 + r);
    stage = {stage.forward * slower, stage.input_grad * slower, stage.weight_grad * slower};
  }
  return problem;
}

/// By the oracle, which knows nothing of the greedy rule.
PipelineReplay replay(const std::vector<std::vector<Slot>>& orders, const GreedyProblem& problem) {
  const auto times = [&](std::int64_t stage) {
    const StageTimes& in = problem.stages[static_cast<std::size_t>(stage)];
    return SlotTimes{.forward = in.forward.in(second),
                     .input_grad = in.input_grad.in(second),
                     .weight_grad = in.weight_grad.in(second),
                     .message = problem.message.in(second)};
  };
  return SlotSimulator(orders, times).run();
}

double fixed_makespan(Schedule schedule, const GreedyProblem& problem) {
  const PipelineShape shape = {.num_ranks = static_cast<std::int64_t>(problem.stages.size()),
                               .num_micro_batches = problem.num_micro_batches};
  return replay(orders_of(schedule, shape), problem).makespan;
}

TEST(GreedyZeroBubble, WithRoomForOneMicroBatchTakesThemOneByOne) {
  using enum Slot::Kind;
  const GreedyOrder order = greedy_zero_bubble(equal_ranks(2, {1 * second, 1 * second, 1 * second}, 2, 1));
  EXPECT_EQ(order.makespan, 10 * second);
  for (const std::int64_t rank : {0, 1}) {
    EXPECT_EQ(order.ranks[static_cast<std::size_t>(rank)], (std::vector<Slot>{{forward, rank, 0},
                                                                              {input_grad, rank, 0},
                                                                              {weight_grad, rank, 0},
                                                                              {forward, rank, 1},
                                                                              {input_grad, rank, 1},
                                                                              {weight_grad, rank, 1}}));
  }
}

TEST(GreedyZeroBubble, WithEqualTimesIsAsShortAsTheFixedOrders) {
  const StageTimes times = {1 * second, 1 * second, 1 * second};
  for (const std::int64_t p : {1, 2, 4, 7}) {
    for (const std::int64_t m : {2 * p, 5 * p}) {
      const GreedyProblem h1 = equal_ranks(p, times, m, p), h2 = equal_ranks(p, times, m, 2 * p - 1);
      EXPECT_EQ(greedy_zero_bubble(h1).makespan.in(second), fixed_makespan(Schedule::zb_h1, h1));
      EXPECT_EQ(greedy_zero_bubble(h2).makespan.in(second), fixed_makespan(Schedule::zb_h2, h2));
    }
  }
}

TEST(GreedyZeroBubble, KeepsTheMemoryLimitAndSaysTheTimeThatItsOrderTakes) {
  for (std::uint64_t i = 0; i < 300; ++i) {
    SCOPED_TRACE(i);
    const GreedyProblem problem = random_problem(i);
    const GreedyOrder order = greedy_zero_bubble(problem);
    const PipelineReplay got = replay(order.ranks, problem);
    EXPECT_FALSE(got.deadlock);
    EXPECT_NEAR(order.makespan.in(second), got.makespan, 1e-9);
    for (std::size_t r = 0; r < got.ranks.size(); ++r) {
      EXPECT_LE(got.ranks[r].peak_live, problem.max_in_flight);
      for (const Slot::Kind kind : {Slot::Kind::forward, Slot::Kind::input_grad, Slot::Kind::weight_grad}) {
        std::vector<Slot> expected, of_kind;
        for (std::int64_t mb = 0; mb < problem.num_micro_batches; ++mb) {
          expected.push_back({kind, static_cast<std::int64_t>(r), mb});
        }
        std::ranges::copy_if(order.ranks[r], std::back_inserter(of_kind),
                             [&](const Slot& slot) { return slot.kind == kind; });
        EXPECT_EQ(of_kind, expected);
      }
    }
  }
}

TEST(GreedyZeroBubble, IsShorterOnAverageThanH2OnRanksOfDifferentSpeed) {
  double sum = 0.0;
  constexpr int kNumCases = 200;
  for (std::uint64_t i = 0; i < kNumCases; ++i) {
    GreedyProblem problem = random_problem(i);
    const auto num_ranks = static_cast<std::int64_t>(problem.stages.size());
    problem.num_micro_batches += 2 * num_ranks;
    problem.max_in_flight = 2 * num_ranks - 1;
    sum += greedy_zero_bubble(problem).makespan.in(second) / fixed_makespan(Schedule::zb_h2, problem);
  }
  EXPECT_LT(sum / kNumCases, 0.9995);
}

TEST(GreedyZeroBubble, MoreMemoryPaysUpToH2) {
  const StageTimes times = {10 * second, 12 * second, 8 * second};
  const auto makespan = [&](std::int64_t max_in_flight) {
    return greedy_zero_bubble(equal_ranks(4, times, 12, max_in_flight)).makespan;
  };
  EXPECT_GT(makespan(2), makespan(4));
  EXPECT_GT(makespan(4), makespan(5));
  EXPECT_GT(makespan(5), makespan(7));
  EXPECT_EQ(makespan(7), makespan(12));
}

TEST(GreedyZeroBubble, NeedsRoomForAMicroBatch) {
  EXPECT_THROW(greedy_zero_bubble(equal_ranks(2, {1 * second, 1 * second, 1 * second}, 2, 0)), InternalError);
}

}  // namespace
}  // namespace orrery
