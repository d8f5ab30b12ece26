// SPDX-License-Identifier: Apache-2.0
#include "costmodel/pipeline_moments.h"

#include "tests/unit/costmodel/pipeline_shapes.h"
#include "tests/unit/program/small_models.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// Chunks of activations on a rank while one of its slots runs, at most; with `until_weight_grad` those count whose
/// weight gradient is still to come.
std::int64_t in_flight(const Strategy& strategy, std::int64_t num_micro_batches, std::int64_t rank,
                       bool until_weight_grad) {
  std::int64_t most = 0;
  for (const PipelineMoment& moment : pipeline_moments(strategy, num_micro_batches, rank)) {
    std::int64_t chunks = moment.kind == Slot::Kind::forward ? 1 : 0;
    for (const HeldByStage& held : moment.held) {
      chunks += held.activations + (until_weight_grad ? held.weight_grads : 0);
    }
    most = std::max(most, chunks);
  }
  return most;
}

// The table of docs/design/schedules.md, in chunks.
TEST(PipelineMoments, HoldAsManyMicroBatchesAsTheirScheduleSays) {
  const std::int64_t p = 4;
  for (std::int64_t r = 0; r < p; ++r) {
    EXPECT_EQ(in_flight(shape_of(Schedule::gpipe, p, 1), 9, r, false), 9);
    EXPECT_EQ(in_flight(shape_of(Schedule::one_f_one_b, p, 1), 12, r, false), p - r);
    EXPECT_EQ(in_flight(shape_of(Schedule::one_f_one_b, p, 1), 2, r, false), std::min<std::int64_t>(2, p - r));
    EXPECT_EQ(in_flight(shape_of(Schedule::interleaved, p, 3), 12, r, false), (3 - 1) * p + 2 * (p - 1 - r) + 1);
    EXPECT_EQ(in_flight(shape_of(Schedule::zb_h1, p, 1), 12, r, true), p);
    EXPECT_EQ(in_flight(shape_of(Schedule::zb_h2, p, 1), 12, r, true), 2 * p - 1);
    EXPECT_EQ(in_flight(shape_of(Schedule::zbv, p, 2), 12, r, true), 2 * p);
    EXPECT_EQ(in_flight(shape_of(Schedule::dualpipe, p, 1), 12, r, true), p + 1);
    EXPECT_EQ(in_flight(shape_of(Schedule::dualpipev, p, 2), 12, r, true), 2 * p + 1);
  }
}

bool same(const PipelineMoment& a, const PipelineMoment& b) {
  return a.kind == b.kind && a.chunk == b.chunk && a.beside == b.beside && a.held == b.held;
}

TEST(PipelineMoments, RepeatInLongSteps) {
  for (const Schedule schedule : {Schedule::one_f_one_b, Schedule::interleaved, Schedule::zb_h1, Schedule::zb_h2,
                                  Schedule::zbv, Schedule::dualpipe, Schedule::dualpipev}) {
    for (const std::int64_t p : {2, 4, 6}) {
      const std::int64_t vpp = schedule == Schedule::interleaved ? 3 : testing::least_vpp(schedule);
      Strategy strategy = shape_of(schedule, p, vpp);
      for (const bool in_pairs : {false, true}) {
        const bool in_turn = schedule == Schedule::one_f_one_b || schedule == Schedule::interleaved;
        strategy.overlap.ep_batch_level = in_pairs && in_turn;
        for (std::int64_t m = 6 * p; m < 11 * p; ++m) {
          if (schedule_problem(strategy, m)) continue;
          const std::int64_t shortened = shortened_micro_batches(strategy, m);
          EXPECT_LE(shortened, 6 * p);
          for (std::int64_t r = 0; r < p; ++r) {
            const auto all = find_pipeline_moments(strategy, m, r);
            const auto few = find_pipeline_moments(strategy, shortened, r);
            EXPECT_TRUE(std::is_permutation(all.begin(), all.end(), few.begin(), few.end(), same))
                << name_of(schedule) << " p " << p << " m " << m << " rank " << r;
          }
        }
      }
    }
  }
}

TEST(PipelineMoments, CountOutputsBetweenStagesOfOneRank) {
  // The turn of a V: what stage 1 makes, stage 2 takes on the same rank.
  bool waits = false;
  for (const PipelineMoment& moment : pipeline_moments(shape_of(Schedule::zbv, 2, 2), 8, 1)) {
    waits = waits || (moment.chunk == 1 && moment.kind == Slot::Kind::forward && moment.held[0].outputs > 0);
    EXPECT_EQ(moment.held[1].outputs, 0);
  }
  EXPECT_TRUE(waits);
  for (const PipelineMoment& moment : pipeline_moments(shape_of(Schedule::zbv, 2, 2), 8, 0)) {
    EXPECT_EQ(moment.held[0].outputs, 0);
  }
}

}  // namespace
}  // namespace orrery::costmodel
