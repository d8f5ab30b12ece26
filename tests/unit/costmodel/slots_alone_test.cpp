// SPDX-License-Identifier: Apache-2.0
// Slots that run beside no other, against the orders themselves.
#include "costmodel/slots_alone.h"

#include "program/schedule.h"
#include "tests/unit/costmodel/pipeline_shapes.h"

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

Strategy in_pairs(Schedule schedule, std::int64_t pp, std::int64_t vpp) {
  Strategy s = shape_of(schedule, pp, vpp);
  s.overlap.ep_batch_level = schedule != Schedule::dualpipe && schedule != Schedule::dualpipev;
  return s;
}

/// What is in no pair, of a step as long as it is.
std::vector<SlotsAlone> counted(const Strategy& s, std::int64_t num_micro_batches, std::int64_t rank) {
  const std::vector<std::int64_t> stages = stages_of(s, rank);
  std::vector<SlotsAlone> out(stages.size(),
                              {slots_per_stage(s, num_micro_batches), slots_per_stage(s, num_micro_batches)});
  const auto chunk_of = [&](std::int64_t stage) {
    return static_cast<std::size_t>(std::ranges::find(stages, stage) - stages.begin());
  };
  for (const Slot& slot : slots_of(s, num_micro_batches, rank)) {
    if (!slot.beside) continue;
    out[chunk_of(slot.stage)].forwards -= 1.0;
    out[chunk_of(slot.beside->stage)].backwards -= 1.0;
  }
  return out;
}

TEST(SlotsAlone, AreThoseOfTheOrderHoweverLongTheStepIs) {
  struct Case {
    Schedule schedule;
    std::int64_t vpp;
  };
  int num_checked = 0;
  for (const Case& c : {Case{Schedule::one_f_one_b, 1}, Case{Schedule::interleaved, 2}, Case{Schedule::interleaved, 5},
                        Case{Schedule::dualpipe, 1}, Case{Schedule::dualpipev, 2}}) {
    for (const std::int64_t pp : {1, 2, 3, 4, 6, 8}) {
      const Strategy s = in_pairs(c.schedule, pp, c.vpp);
      for (std::int64_t m = 1; m < 90; ++m) {
        if (schedule_problem(s, m)) continue;
        for (std::int64_t rank = 0; rank < pp; ++rank) {
          EXPECT_EQ(slots_alone(s, m, rank), counted(s, m, rank)) << static_cast<int>(c.schedule) << pp << ' ' << m;
          ++num_checked;
        }
      }
    }
  }
  EXPECT_GT(num_checked, 5000);
}

// A rank warms up with a forward more than without pairs, and drains as many backwards.
TEST(SlotsAlone, OfOneForwardOneBackwardAreWarmUpAndDrain) {
  const Strategy s = in_pairs(Schedule::one_f_one_b, 4, 1);
  EXPECT_EQ(slots_alone(s, 16, 0), (std::vector<SlotsAlone>{{4.0, 4.0}}));
  EXPECT_EQ(slots_alone(s, 16, 3), (std::vector<SlotsAlone>{{1.0, 1.0}}));
  EXPECT_EQ(slots_alone(s, 4, 0), (std::vector<SlotsAlone>{{4.0, 4.0}}));
}

}  // namespace
}  // namespace orrery::costmodel
