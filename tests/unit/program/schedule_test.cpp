// SPDX-License-Identifier: Apache-2.0
#include "program/schedule.h"

#include "base/errors.h"
#include "base/json_reader.h"
#include "program/names.h"
#include "tests/unit/program/reading.h"
#include "tests/unit/program/slot_simulator.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::orders_of;
using testing::repository_path;

std::string text_of(char kind, std::int64_t stage, std::int64_t micro_batch) {
  return kind + std::to_string(stage) + '.' + std::to_string(micro_batch);
}

/// "F0.3", kind, stage, micro-batch; "[F0.3&B3.1]" for an overlapped pair.
std::string text_of(const Slot& slot) {
  std::string text = text_of("FBIW"[static_cast<int>(slot.kind)], slot.stage, slot.micro_batch);
  if (!slot.beside) return text;
  return '[' + text + '&' + text_of('B', slot.beside->stage, slot.beside->micro_batch) + ']';
}

std::string text_of(const std::vector<Slot>& slots) {
  std::string out;
  for (const Slot& slot : slots) out += (out.empty() ? "" : " ") + text_of(slot);
  return out;
}

std::string order(Schedule schedule, const PipelineShape& shape, std::int64_t rank) {
  return text_of(slots_of(schedule, shape, rank));
}

/// Compares with every order of a golden file, and returns how many there were.
int expect_golden_orders(const std::string& file, const char* num_ranks_key) {
  const JsonDocument golden = JsonDocument::parse_file(repository_path("tests/data/goldens/" + file).string());
  const std::vector<JsonValue> entries = golden.root().required("orders").array();
  for (const JsonValue& entry : entries) {
    const JsonObject in = entry.object();
    const auto schedule = in.required("schedule").one_of<Schedule>(kScheduleNames);
    const PipelineShape shape = {.num_ranks = in.required(num_ranks_key).integer(),
                                 .chunks_per_rank = in.optional("chunks").integer().value_or(1),
                                 .num_micro_batches = in.required("micro_batches").integer()};
    SCOPED_TRACE(name_of(schedule));
    std::vector<std::string> expected, got;
    for (const JsonValue& rank : in.required("ranks").array()) expected.push_back(rank.string());
    for (const std::vector<Slot>& slots : orders_of(schedule, shape)) got.push_back(text_of(slots));
    EXPECT_EQ(got, expected);
  }
  golden.throw_if_problems();
  return static_cast<int>(entries.size());
}

TEST(Schedule, OrdersEqualTheGoldenOnes) {
  EXPECT_EQ(expect_golden_orders("pipelines.json", "stages"), 2);
  EXPECT_EQ(expect_golden_orders("pipeline_orders.json", "pipeline_ranks"), 6);
}

TEST(Schedule, OneForwardOneBackwardWithFewMicroBatchesIsAllWarmUp) {
  EXPECT_EQ(order(Schedule::one_f_one_b, {.num_ranks = 4, .num_micro_batches = 2}, 0), "F0.0 F0.1 B0.0 B0.1");
}

TEST(Schedule, GPipeRunsAllForwardsFirst) {
  EXPECT_EQ(order(Schedule::gpipe, {.num_ranks = 2, .num_micro_batches = 3}, 1), "F1.0 F1.1 F1.2 B1.0 B1.1 B1.2");
}

TEST(Schedule, InterleavedTakesGroupsOfTheGivenSizeAndThenTheTail) {
  const PipelineShape shape = {.num_ranks = 2, .chunks_per_rank = 2, .num_micro_batches = 5, .micro_batch_group = 3};
  EXPECT_EQ(order(Schedule::interleaved, shape, 1),
            "F1.0 F1.1 F1.2 F3.0 B3.0 F3.1 B3.1 F3.2 B3.2 F1.3 B1.0 F1.4 B1.1 F3.3 B1.2 F3.4 B3.3 B3.4 B1.3 B1.4");
}

TEST(Schedule, ZeroBubbleWithFewMicroBatchesSkipsWhatIsNotThere) {
  EXPECT_EQ(order(Schedule::zb_h2, {.num_ranks = 3, .num_micro_batches = 2}, 0), "F0.0 F0.1 I0.0 W0.0 I0.1 W0.1");
  EXPECT_EQ(order(Schedule::zbv, {.num_ranks = 2, .chunks_per_rank = 2, .num_micro_batches = 1}, 1),
            "F1.0 F2.0 I2.0 W2.0 I1.0 W1.0");
}

TEST(Schedule, RefusesShapesWithoutAnOrder) {
  const auto problem = [](Schedule schedule, const PipelineShape& shape) {
    EXPECT_EQ(has_order(schedule, shape), !order_problem(schedule, shape));
    return order_problem(schedule, shape).value_or("");
  };
  const auto shape = [](std::int64_t p, std::int64_t v, std::int64_t m) {
    return PipelineShape{.num_ranks = p, .chunks_per_rank = v, .num_micro_batches = m};
  };
  const auto grouped = [&](std::int64_t m, std::int64_t group) {
    PipelineShape out = shape(4, 2, m);
    out.micro_batch_group = group;
    return out;
  };
  EXPECT_EQ(problem(Schedule::one_f_one_b, shape(4, 2, 8)), "expected 1 chunk per rank, got 2");
  EXPECT_EQ(problem(Schedule::dualpipe, shape(4, 2, 8)), "expected 1 chunk per rank, got 2");
  EXPECT_EQ(problem(Schedule::zbv, shape(4, 1, 8)), "expected 2 chunks per rank, got 1");
  EXPECT_EQ(problem(Schedule::dualpipev, shape(4, 3, 8)), "expected 2 chunks per rank, got 3");
  EXPECT_EQ(problem(Schedule::interleaved, shape(4, 1, 8)), "expected at least 2 chunks per rank, got 1");
  EXPECT_EQ(problem(Schedule::interleaved, shape(4, 2, 3)), "expected at least 4 micro-batches (one per rank), got 3");
  EXPECT_EQ(problem(Schedule::interleaved, shape(4, 2, 9)),
            "expected 9 micro-batches in groups of 4 to leave none or at least 4 (ranks), got 1");
  EXPECT_EQ(problem(Schedule::interleaved, grouped(9, 3)), "expected groups of 4 (ranks) to 9 (micro-batches), got 3");
  EXPECT_EQ(problem(Schedule::interleaved, grouped(9, 10)),
            "expected groups of 4 (ranks) to 9 (micro-batches), got 10");
  EXPECT_EQ(problem(Schedule::interleaved, grouped(9, 5)), "");
  EXPECT_EQ(problem(Schedule::dualpipe, shape(3, 1, 8)), "expected an even number of ranks, got 3");
  EXPECT_EQ(problem(Schedule::dualpipe, shape(4, 1, 9)), "expected an even number of micro-batches, got 9");
  EXPECT_EQ(problem(Schedule::dualpipe, shape(4, 1, 6)), "expected at least 8 micro-batches (2 per rank), got 6");
  EXPECT_EQ(problem(Schedule::dualpipev, shape(3, 2, 5)), "expected at least 6 micro-batches (2 per rank), got 5");
  EXPECT_EQ(problem(Schedule::dualpipev, shape(3, 2, 7)), "");
  EXPECT_THROW(slots_of(Schedule::dualpipe, shape(3, 1, 8), 0), InternalError);
}

Strategy strategy_of(Schedule schedule, std::int64_t pp, std::int64_t vpp = 1) {
  Strategy strategy;
  strategy.schedule = schedule;
  strategy.pp = pp;
  strategy.vpp = vpp;
  return strategy;
}

TEST(Schedule, StagesOfARankAreThoseOfItsSlots) {
  EXPECT_EQ(stages_of(strategy_of(Schedule::one_f_one_b, 4), 2), std::vector<std::int64_t>({2}));
  EXPECT_EQ(stages_of(strategy_of(Schedule::interleaved, 4, 3), 1), std::vector<std::int64_t>({1, 5, 9}));
  EXPECT_EQ(stages_of(strategy_of(Schedule::zbv, 4, 2), 1), std::vector<std::int64_t>({1, 6}));
  EXPECT_EQ(stages_of(strategy_of(Schedule::dualpipe, 4), 3), std::vector<std::int64_t>({3, 0}));
  for (const auto& [name, schedule] : kScheduleNames) {
    const bool two_chunks =
        schedule == Schedule::interleaved || schedule == Schedule::zbv || schedule == Schedule::dualpipev;
    const Strategy strategy = strategy_of(schedule, 4, two_chunks ? 2 : 1);
    for (std::int64_t rank = 0; rank < 4; ++rank) {
      std::set<std::int64_t> from_slots;
      for (const Slot& slot : slots_of(strategy, 8, rank)) from_slots.insert(slot.stage);
      const std::vector<std::int64_t> held = stages_of(strategy, rank);
      EXPECT_EQ(from_slots, std::set<std::int64_t>(held.begin(), held.end())) << name << ' ' << rank;
    }
  }
}

TEST(Schedule, NeighboursAreWhereTheNextStageIs) {
  const auto around = [](const Strategy& strategy, std::int64_t rank, std::size_t chunk) {
    const StageNeighbours n = neighbours_of(strategy, rank, chunk);
    constexpr const char* kNames[] = {"none", "same", "next", "previous"};
    return std::string(kNames[static_cast<int>(n.before)]) + " " + kNames[static_cast<int>(n.behind)];
  };
  const Strategy plain = strategy_of(Schedule::zb_h1, 3);
  EXPECT_EQ(around(plain, 0, 0), "none next");
  EXPECT_EQ(around(plain, 1, 0), "previous next");
  EXPECT_EQ(around(plain, 2, 0), "previous none");
  EXPECT_EQ(around(strategy_of(Schedule::gpipe, 1), 0, 0), "none none");

  const Strategy ring = strategy_of(Schedule::interleaved, 2, 2);  // stages 0 2 on rank 0, 1 3 on rank 1
  EXPECT_EQ(around(ring, 0, 0), "none next");
  EXPECT_EQ(around(ring, 1, 0), "previous next");
  EXPECT_EQ(around(ring, 0, 1), "previous next");
  EXPECT_EQ(around(ring, 1, 1), "previous none");
  const Strategy one_rank = strategy_of(Schedule::interleaved, 1, 3);
  EXPECT_EQ(around(one_rank, 0, 0), "none same");
  EXPECT_EQ(around(one_rank, 0, 1), "same same");
  EXPECT_EQ(around(one_rank, 0, 2), "same none");

  const Strategy folded = strategy_of(Schedule::dualpipev, 2, 2);  // stages 0 3 on rank 0, 1 2 on rank 1
  EXPECT_EQ(around(folded, 0, 0), "none next");
  EXPECT_EQ(around(folded, 1, 0), "previous same");
  EXPECT_EQ(around(folded, 1, 1), "same previous");
  EXPECT_EQ(around(folded, 0, 1), "next none");
  EXPECT_EQ(around(strategy_of(Schedule::zbv, 1, 2), 0, 1), "same none");

  const Strategy both_ways = strategy_of(Schedule::dualpipe, 4);
  EXPECT_EQ(around(both_ways, 0, 0), "none next");
  EXPECT_EQ(around(both_ways, 0, 1), "next none");
  EXPECT_EQ(around(both_ways, 1, 1), "next previous");
  EXPECT_EQ(around(both_ways, 3, 1), "none previous");
}

TEST(Schedule, SaysWhichShapeOfAStrategyHasNoOrder) {
  EXPECT_EQ(schedule_problem(strategy_of(Schedule::zbv, 4, 2), 8), std::nullopt);
  EXPECT_EQ(schedule_problem(strategy_of(Schedule::zbv, 4), 8), "expected 2 chunks per rank, got 1");
  EXPECT_EQ(schedule_problem(strategy_of(Schedule::dualpipe, 4), 6),
            "expected at least 8 micro-batches (2 per rank), got 6");
}

}  // namespace
}  // namespace orrery
