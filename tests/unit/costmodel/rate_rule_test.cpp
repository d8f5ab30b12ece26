// SPDX-License-Identifier: Apache-2.0
#include "costmodel/rate_rule.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr OverlapRule kRule{.compute_slowdown = 0.25, .comm_slowdown = 0.1};

TEST(RateRule, RunsAtFullSpeedAlone) {
  EXPECT_EQ(compute_rate(kRule.compute_slowdown, 3.0, {}), 1.0);
  EXPECT_EQ(comm_rate(kRule, false), 1.0);
}

TEST(RateRule, SlowsBothWhileBothRun) {
  EXPECT_EQ(compute_rate(kRule.compute_slowdown, 3.0, {.comms = 1}), 0.8);
  // A second communication takes no further share.
  EXPECT_EQ(compute_rate(kRule.compute_slowdown, 3.0, {.comms = 3}), 0.8);
  EXPECT_EQ(comm_rate(kRule, true), 1.0 / 1.1);
}

TEST(RateRule, SlowsComputeByAnExchangeOfTokensAsThatSays) {
  EXPECT_EQ(compute_rate(kRule.compute_slowdown, 3.0, {.comms = 1, .exchanges = 1}), 0.25);
  EXPECT_EQ(compute_rate(kRule.compute_slowdown, 3.0, {.comms = 3, .exchanges = 1}), 0.25);
}

TEST(RateRule, CountsWhatRuns) {
  RunningComms running;
  running.add(false);
  running.add(true);
  EXPECT_EQ(running.comms, 2);
  EXPECT_EQ(running.exchanges, 1);
  running.add(true, -1);
  EXPECT_EQ(running.comms, 1);
  EXPECT_EQ(running.exchanges, 0);
}

TEST(RateRule, ProgressKeepsWhatWasDoneWhenTheRateChanges) {
  Progress progress;
  progress.start(seconds(10), 1.0, seconds(100));
  EXPECT_EQ(progress.end(), seconds(110));
  progress.set_rate(0.5, seconds(104));  // 6 of 10 left
  EXPECT_EQ(progress.end(), seconds(116));
  progress.set_rate(1.0, seconds(108));  // 4 of 10 left
  EXPECT_EQ(progress.end(), seconds(112));
}

TEST(RateRule, ProgressNeverHasLessThanNothingLeft) {
  Progress progress;
  progress.start(seconds(1), 1.0, seconds(0));
  progress.set_rate(0.5, seconds(1.5));
  EXPECT_EQ(progress.end(), seconds(1.5));
}

}  // namespace
}  // namespace orrery::costmodel
