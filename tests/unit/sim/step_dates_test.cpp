// SPDX-License-Identifier: Apache-2.0
#include "sim/step_dates.h"

#include "tests/unit/sim/hand_timed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::OpTimes;
using costmodel::PathClass;
using orrery::testing::HandTimed;
using orrery::testing::over;
using ::testing::ElementsAre;

/// Rank 1 comes to a collective 3 us after rank 0, then each computes.
TEST(StepDates, SayWhatFollowsFromThem) {
  HandTimed program(2);
  program.collective({0, 1}, over(PathClass::node, bytes(1e6), bytes_per_second(1e12)));
  program.compute(0, microseconds(4));
  program.compute(1, microseconds(5));
  const StepDates dates{
      .ranks = {{.ready = {microseconds(0), microseconds(4)}, .end = {microseconds(4), microseconds(8)}},
                {.ready = {microseconds(3), microseconds(4)}, .end = {microseconds(4), microseconds(9)}}},
      .start = {microseconds(3)},
      .last_peer = {1},
      .makespan = microseconds(9)};
  const costmodel::TimedProgram timed = program.timed();
  EXPECT_EQ(dates.start_of(timed, 0, 0), microseconds(3));
  EXPECT_EQ(dates.start_of(timed, 0, 1), microseconds(4));
  const OpTimes times = times_of(timed, dates);
  EXPECT_EQ(times.makespan, microseconds(9));
  EXPECT_THAT(times.ranks.at(0).ready, ElementsAre(microseconds(0), microseconds(4)));
  EXPECT_THAT(times.ranks.at(0).start, ElementsAre(microseconds(3), microseconds(4)));
  EXPECT_THAT(times.ranks.at(0).end, ElementsAre(microseconds(4), microseconds(8)));
  EXPECT_THAT(times.ranks.at(0).last_peer, ElementsAre(1, -1));
  EXPECT_THAT(times.ranks.at(1).start, ElementsAre(microseconds(3), microseconds(4)));
  EXPECT_THAT(times.ranks.at(1).last_peer, ElementsAre(-1, -1));  // it was the last itself
}

TEST(StepDates, OfTheMakespanAloneSayNoOther) {
  HandTimed program(1);
  program.compute(0, microseconds(4));
  EXPECT_TRUE(times_of(program.timed(), {.ranks = {}, .start = {}, .last_peer = {}, .makespan = microseconds(4)})
                  .ranks.empty());
}

}  // namespace
}  // namespace orrery::sim
