// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/kept_steps.h"

#include <utility>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

/// Numbers of step records, and of steps with ops.
std::pair<std::int64_t, std::int64_t> counted(const KeptSteps& kept, std::int64_t first, std::int64_t num_steps) {
  std::pair<std::int64_t, std::int64_t> counts;
  for (std::int64_t step = first; step < num_steps; ++step) {
    counts.first += kept.has_record(step, first, num_steps) ? 1 : 0;
    counts.second += kept.has_ops(step, num_steps) ? 1 : 0;
  }
  return counts;
}

TEST(KeptSteps, OfAWrittenTraceAreAll) { EXPECT_EQ(counted(KeptSteps::all(2500), 0, 2500), std::pair(2500L, 2500L)); }

TEST(KeptSteps, OfAReportAreAsManyOfAMillionAsOfThousands) {
  EXPECT_EQ(counted(KeptSteps::for_report(3), 0, 3), std::pair(3L, 3L));
  EXPECT_EQ(counted(KeptSteps::for_report(1000), 0, 1000), std::pair(1000L, 10L));
  for (const std::int64_t num_steps : {1001L, 20'003L, 1'000'000L}) {
    const auto [records, with_ops] = counted(KeptSteps::for_report(num_steps), 0, num_steps);
    EXPECT_GT(records, 500) << num_steps;
    EXPECT_LT(records, 1012) << num_steps;
    EXPECT_EQ(with_ops, 10) << num_steps;
  }
}

TEST(KeptSteps, TheFirstAndTheLastHaveARecordWhateverTheirNumbers) {
  const KeptSteps kept = {.record_every = 100, .num_with_ops = 0};
  EXPECT_TRUE(kept.has_record(37, 37, 450));
  EXPECT_FALSE(kept.has_record(38, 37, 450));
  EXPECT_TRUE(kept.has_record(400, 37, 450));
  EXPECT_TRUE(kept.has_record(449, 37, 450));
  EXPECT_FALSE(kept.has_ops(449, 450));
}

}  // namespace
}  // namespace orrery::executor
