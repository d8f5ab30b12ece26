// SPDX-License-Identifier: Apache-2.0
// What the orders of program/schedule.h cost in time and memory, by the slot simulator.
#include "base/json_reader.h"
#include "base/rng.h"
#include "program/names.h"
#include "program/schedule.h"
#include "program/schedules/schedules.h"
#include "tests/unit/program/reading.h"
#include "tests/unit/program/slot_simulator.h"

#include <map>
#include <set>
#include <string>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::orders_of;
using testing::PipelineReplay;
using testing::replay;
using testing::repository_path;
using testing::SlotTimes;

std::vector<double> numbers(const JsonValue& array) {
  std::vector<double> out;
  for (const JsonValue& value : array.array()) out.push_back(value.number());
  return out;
}

/// Compares with every case of a golden file, and returns how many there were.
int expect_golden_times(const std::string& file, const char* num_ranks_key) {
  const JsonDocument golden = JsonDocument::parse_file(repository_path("tests/data/goldens/" + file).string());
  const std::vector<JsonValue> cases = golden.root().required("cases").array();
  for (const JsonValue& entry : cases) {
    SCOPED_TRACE(entry.pointer());
    const JsonObject in = entry.object();
    const auto number = [&](const char* key) { return in.required(key).number(); };
    const PipelineShape shape = {.num_ranks = in.required(num_ranks_key).integer(),
                                 .chunks_per_rank = in.optional("chunks").integer().value_or(1),
                                 .num_micro_batches = in.required("micro_batches").integer()};
    const PipelineReplay got = replay(orders_of(in.required("schedule").one_of<Schedule>(kScheduleNames), shape),
                                      {.forward = number("forward"),
                                       .input_grad = number("input_grad"),
                                       .weight_grad = number("weight_grad"),
                                       .pair = in.optional("pair").number().value_or(0.0),
                                       .message = number("message")});
    std::vector<double> busy, idle, span_idle, peak_live;
    for (std::size_t r = 0; r < got.ranks.size(); ++r) {
      busy.push_back(got.ranks[r].busy);
      idle.push_back(got.idle(r));
      span_idle.push_back(got.ranks[r].span_idle());
      peak_live.push_back(static_cast<double>(got.ranks[r].peak_live));
    }
    EXPECT_FALSE(got.deadlock);
    EXPECT_EQ(got.makespan, number("makespan"));
    EXPECT_EQ(busy, numbers(in.required("busy")));
    EXPECT_EQ(idle, numbers(in.required("idle")));
    EXPECT_EQ(span_idle, numbers(in.required("span_idle")));
    EXPECT_EQ(peak_live, numbers(in.required("peak_live_activations")));
  }
  golden.throw_if_problems();
  return static_cast<int>(cases.size());
}

TEST(ScheduleTimes, EqualTheGoldenOnes) {
  EXPECT_EQ(
      expect_golden_times("pipelines.json", "stages") + expect_golden_times("pipeline_orders.json", "pipeline_ranks"),
      50);
}

/// Random pipelines with whole times, so that sums are exact.
class RandomPipeline {
 public:
  explicit RandomPipeline(std::uint64_t index) : random_(2024, index) {}

  std::int64_t between(std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(random_.below(next_++, static_cast<std::uint64_t>(most - least + 1)));
  }

  /// Some shape for which the schedule has an order.
  PipelineShape shape(Schedule schedule) {
    for (;;) {
      PipelineShape out = {.num_ranks = between(1, 8), .chunks_per_rank = between(1, 3)};
      out.num_micro_batches = between(1, 5 * out.num_ranks);
      if (between(0, 1) == 1) out.micro_batch_group = between(out.num_ranks, out.num_micro_batches + out.num_ranks);
      if (has_order(schedule, out)) return out;
    }
  }

  SlotTimes times() { return {.forward = whole(), .input_grad = whole(), .weight_grad = whole(), .pair = 2 * whole()}; }
  SlotTimes equal_times() {
    const double time = whole();
    return {.forward = time, .input_grad = time, .weight_grad = time, .pair = 3 * time};
  }

 private:
  double whole() { return static_cast<double>(between(1, 20)); }

  CounterRng random_;
  std::uint64_t next_ = 0;
};

constexpr std::uint64_t kNumCases = 300;

/// Calls check(shape, random) on random shapes of a schedule.
template <class Check>
void for_random_shapes(Schedule schedule, Check&& check) {
  for (std::uint64_t i = 0; i < kNumCases; ++i) {
    RandomPipeline random(i);
    const PipelineShape shape = random.shape(schedule);
    SCOPED_TRACE(std::string(name_of(schedule)) + " p" + std::to_string(shape.num_ranks) + " v" +
                 std::to_string(shape.chunks_per_rank) + " m" + std::to_string(shape.num_micro_batches) + " group " +
                 std::to_string(shape.micro_batch_group.value_or(0)));
    check(shape, random);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(ScheduleTimes, EachMicroBatchHasOneForwardAndOneBackwardOnEachStage) {
  using Kind = Slot::Kind;
  for (const auto& [name, schedule] : kScheduleNames) {
    for_random_shapes(schedule, [schedule = schedule](const PipelineShape& shape, RandomPipeline&) {
      // What has been done with each (stage, micro-batch), and where.
      std::map<std::pair<std::int64_t, std::int64_t>, std::vector<Kind>> done;
      std::map<std::pair<std::int64_t, std::int64_t>, std::set<std::int64_t>> where;
      for (std::int64_t rank = 0; rank < shape.num_ranks; ++rank) {
        const auto add = [&](Kind kind, std::int64_t stage, std::int64_t micro_batch) {
          done[{stage, micro_batch}].push_back(kind);
          where[{stage, micro_batch}].insert(rank);
        };
        for (const Slot& slot : slots_of(schedule, shape, rank)) {
          add(slot.kind, slot.stage, slot.micro_batch);
          if (slot.beside) add(Kind::backward, slot.beside->stage, slot.beside->micro_batch);
        }
      }
      const std::vector<Kind> whole = {Kind::forward, Kind::backward};
      const std::vector<Kind> split = {Kind::forward, Kind::input_grad, Kind::weight_grad};
      EXPECT_EQ(done.size(),
                static_cast<std::size_t>(shape.num_ranks * shape.chunks_per_rank * shape.num_micro_batches));
      for (const auto& [at, kinds] : done) {
        EXPECT_TRUE(kinds == whole || kinds == split) << "stage " << at.first << " micro-batch " << at.second;
        EXPECT_EQ(where[at].size(), 1);
      }
    });
  }
}

TEST(ScheduleTimes, NoOrderDeadlocks) {
  for (const auto& [name, schedule] : kScheduleNames) {
    for_random_shapes(schedule, [schedule = schedule](const PipelineShape& shape, RandomPipeline& random) {
      EXPECT_FALSE(replay(orders_of(schedule, shape), random.times()).deadlock);
    });
  }
}

TEST(ScheduleTimes, RefusedGroupsOfMicroBatchesCanDeadlock) {
  const auto deadlocks = [](const PipelineShape& shape) {
    EXPECT_FALSE(has_order(Schedule::interleaved, shape));
    std::vector<std::vector<Slot>> orders;
    for (std::int64_t rank = 0; rank < shape.num_ranks; ++rank) {
      orders.push_back(schedules::interleaved(shape, rank));
    }
    return replay(orders, {.forward = 1, .input_grad = 1, .weight_grad = 1}).deadlock;
  };
  EXPECT_TRUE(deadlocks({.num_ranks = 3, .chunks_per_rank = 2, .num_micro_batches = 4, .micro_batch_group = 1}));
  EXPECT_TRUE(deadlocks({.num_ranks = 4, .chunks_per_rank = 3, .num_micro_batches = 9, .micro_batch_group = 4}));
}

/// Compares the most activations that live at a time on each rank with `expected(shape, rank)`.
template <class Expected>
void expect_peaks(Schedule schedule, Expected&& expected) {
  for_random_shapes(schedule, [&](const PipelineShape& shape, RandomPipeline& random) {
    const PipelineReplay got = replay(orders_of(schedule, shape), random.times());
    for (std::int64_t rank = 0; rank < shape.num_ranks; ++rank) {
      EXPECT_EQ(got.ranks[static_cast<std::size_t>(rank)].peak_live, expected(shape, rank)) << "rank " << rank;
    }
  });
}

TEST(ScheduleTimes, ActivationsInFlightFollowTheFormulas) {
  using Shape = PipelineShape;
  expect_peaks(Schedule::gpipe, [](const Shape& s, std::int64_t) { return s.num_micro_batches; });
  expect_peaks(Schedule::one_f_one_b,
               [](const Shape& s, std::int64_t r) { return std::min(s.num_micro_batches, s.num_ranks - r); });
  expect_peaks(Schedule::zb_h1,
               [](const Shape& s, std::int64_t) { return std::min(s.num_micro_batches, s.num_ranks); });
  expect_peaks(Schedule::zb_h2,
               [](const Shape& s, std::int64_t) { return std::min(s.num_micro_batches, 2 * s.num_ranks - 1); });
  expect_peaks(Schedule::zbv, [](const Shape& s, std::int64_t r) {
    return std::min({2 * s.num_ranks, 2 * s.num_micro_batches, s.num_micro_batches + r + 1});
  });
  expect_peaks(Schedule::dualpipe, [](const Shape& s, std::int64_t) { return s.num_ranks + 1; });
  expect_peaks(Schedule::dualpipev, [](const Shape& s, std::int64_t) { return 2 * s.num_ranks + 1; });
}

TEST(ScheduleTimes, InterleavedKeepsAGroupOfEachFurtherChunkInFlight) {
  for_random_shapes(Schedule::interleaved, [](const PipelineShape& shape, RandomPipeline& random) {
    const std::int64_t p = shape.num_ranks, v = shape.chunks_per_rank, m = shape.num_micro_batches;
    const std::int64_t group = shape.micro_batch_group.value_or(p);
    const PipelineReplay got = replay(orders_of(Schedule::interleaved, shape), random.times());
    for (std::int64_t rank = 0; rank < p; ++rank) {
      EXPECT_EQ(got.ranks[static_cast<std::size_t>(rank)].peak_live,
                std::min(m * v, (v - 1) * group + 2 * (p - 1 - rank) + 1));
    }
  });
}

TEST(ScheduleTimes, WholeBackwardsWaitForOneMicroBatchOnEachOtherRank) {
  for (const Schedule schedule : {Schedule::gpipe, Schedule::one_f_one_b}) {
    for_random_shapes(schedule, [schedule](const PipelineShape& shape, RandomPipeline& random) {
      const SlotTimes times = random.times();
      const PipelineReplay got = replay(orders_of(schedule, shape), times);
      EXPECT_EQ(got.largest_idle(), static_cast<double>(shape.num_ranks - 1) * (times.forward + times.backward()));
    });
  }
}

TEST(ScheduleTimes, InterleavedWaitsForOneChunkOnEachOtherRank) {
  for_random_shapes(Schedule::interleaved, [](PipelineShape shape, RandomPipeline& random) {
    const std::int64_t p = shape.num_ranks, m = shape.num_micro_batches;
    shape.micro_batch_group = {};
    shape.num_micro_batches = m - m % p;
    const SlotTimes times = random.times();
    EXPECT_EQ(replay(orders_of(Schedule::interleaved, shape), times).largest_idle(),
              static_cast<double>(p - 1) * (times.forward + times.backward()));
  });
}

TEST(ScheduleTimes, ZeroBubbleH1FillsTheDrainWithWeightGradients) {
  for_random_shapes(Schedule::zb_h1, [](PipelineShape shape, RandomPipeline& random) {
    shape.num_micro_batches += shape.num_ranks - 1;
    const SlotTimes t = random.times();
    EXPECT_EQ(replay(orders_of(Schedule::zb_h1, shape), t).largest_idle(),
              static_cast<double>(shape.num_ranks - 1) *
                  (t.forward + t.input_grad - std::min({t.forward, t.input_grad, t.weight_grad})));
  });
}

TEST(ScheduleTimes, ZeroBubbleH2LeavesOnlyTheForwardsBeforeTheFirstSlot) {
  for_random_shapes(Schedule::zb_h2, [](PipelineShape shape, RandomPipeline& random) {
    shape.num_micro_batches += 2 * shape.num_ranks - 2;
    const SlotTimes t = random.times();
    const double excess = t.forward + t.input_grad - 2 * std::min(t.forward, t.weight_grad);
    const auto hops = static_cast<double>(shape.num_ranks - 1);
    const PipelineReplay got = replay(orders_of(Schedule::zb_h2, shape), t);
    EXPECT_EQ(got.largest_idle(), hops * std::max(t.forward, excess));
    EXPECT_EQ(got.largest_span_idle(), hops * std::max(0.0, excess));
  });
}

TEST(ScheduleTimes, VShapedZeroBubbleHasNoBubbleWhenAllTimesAreEqual) {
  for_random_shapes(Schedule::zbv, [](PipelineShape shape, RandomPipeline& random) {
    shape.num_micro_batches += 2 * shape.num_ranks - 2;
    const SlotTimes times = random.equal_times();
    const PipelineReplay got = replay(orders_of(Schedule::zbv, shape), times);
    EXPECT_EQ(got.largest_span_idle(), 0.0);
    EXPECT_EQ(got.largest_idle(), static_cast<double>(shape.num_ranks - 1) * times.forward);
  });
}

TEST(ScheduleTimes, DualPipeWaitsForAPairOnEachRankOfAnArmButOne) {
  for (const Schedule schedule : {Schedule::dualpipe, Schedule::dualpipev}) {
    for_random_shapes(schedule, [schedule](const PipelineShape& shape, RandomPipeline& random) {
      const SlotTimes times = random.equal_times();
      const std::int64_t arm = schedule == Schedule::dualpipe ? shape.num_ranks / 2 : shape.num_ranks;
      EXPECT_EQ(replay(orders_of(schedule, shape), times).largest_idle(),
                static_cast<double>(arm - 1) * (times.pair + times.backward() - 3 * times.weight_grad));
    });
  }
}

TEST(ScheduleTimes, MessagesDelayEveryRoundOfOneForwardOneBackward) {
  for_random_shapes(Schedule::one_f_one_b, [](PipelineShape shape, RandomPipeline& random) {
    const std::int64_t p = shape.num_ranks += 1;
    shape.num_micro_batches = p * random.between(1, 5);
    SlotTimes times = random.equal_times();
    const auto orders = orders_of(Schedule::one_f_one_b, shape);
    const double without = replay(orders, times).makespan;
    times.message = times.forward / 10;
    const std::int64_t num_delays = 2 * (p - 1) * (shape.num_micro_batches / p + 1) - 2;
    EXPECT_NEAR(replay(orders, times).makespan - without, static_cast<double>(num_delays) * times.message, 1e-9);
  });
}

}  // namespace
}  // namespace orrery
