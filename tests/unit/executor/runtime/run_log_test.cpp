// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/run_log.h"

#include "base/errors.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

const std::string kHeader =
    R"({"header":{"schema":"trace/1","interpreter":"cpu","version":"","program_hash":"","plan":"","num_ranks":2,)"
    R"("represents":{"0":1},"clock_error":0,"threads_per_rank":1,"extrapolated":[],"notes":[]}})"
    "\n";

std::string step(int number, const std::string& time, const std::string& memory) {
  return R"({"step":{"step":)" + std::to_string(number) + R"(,"time":)" + time +
         R"(,"tokens":64,"loss":5.5,"grad_norm":1.25,"peak_memory":)" + memory + "}}\n";
}

RunLog of_two_ranks() {
  RunLog log;
  log.start(2);
  return log;
}

TEST(RunLog, LoadedIsWhenTheLastRankHasItsWeightsAndTheFirstStepEndsWithTheLastRank) {
  int num_calls = 0;
  RunLog log;
  log.on_first_step([&] { ++num_calls; });
  log.start(2);
  log.take(0, kHeader);
  EXPECT_FALSE(log.loaded());
  log.take(1, kHeader.substr(0, 10));  // parts come as the pipe cuts them
  EXPECT_FALSE(log.loaded());
  log.take(1, kHeader.substr(10));
  ASSERT_TRUE(log.loaded());
  EXPECT_LE(log.started(), *log.loaded());
  log.take(0, step(4, "0.5", "100"));
  EXPECT_FALSE(log.first_step());
  log.take(1, step(4, "0.25", "200"));
  ASSERT_TRUE(log.first_step());
  EXPECT_LE(*log.loaded(), *log.first_step());
  for (const int rank : {0, 1}) log.take(rank, step(5, "0.5", "100"));
  EXPECT_EQ(num_calls, 1);
}

TEST(RunLog, AStepCountsWhenAllRanksHaveEndedIt) {
  RunLog log = of_two_ranks();
  log.take(0, kHeader + step(4, "0.5", "100") + step(5, "0.5", "100"));
  EXPECT_TRUE(log.steps().empty());
  log.take(1, kHeader + step(4, "0.25", "200") + step(5, "0.125", "100").substr(0, 40));  // it was killed just then
  ASSERT_EQ(log.steps().size(), 1U);
  EXPECT_EQ(log.steps()[0].step, 4);
  EXPECT_EQ(log.steps()[0].time, seconds(0.5));
  EXPECT_EQ(log.steps()[0].peak_memory, bytes(200));
  EXPECT_EQ(log.steps()[0].loss, 5.5);
}

TEST(RunLog, WhatComesAtTheEndIsNotKept) {
  RunLog log = of_two_ranks();
  const std::string rest = R"({"power":{"rank":0,"time":0.5,"power":20}})"
                           "\n"
                           R"({"end":{"spans":0,"steps":1}})"
                           "\n";
  log.take(0, kHeader + step(0, "0.5", "100") + rest);
  log.take(1, kHeader + step(0, "0.5", "100") + rest);
  EXPECT_EQ(log.steps().size(), 1U);
}

TEST(RunLog, StartsAnew) {
  RunLog log = of_two_ranks();
  for (const int rank : {0, 1}) log.take(rank, kHeader + step(0, "0.5", "100"));
  log.start(1);
  EXPECT_FALSE(log.loaded() || log.first_step());
  EXPECT_TRUE(log.steps().empty());
}

TEST(RunLog, ARankThatSendsSomethingElseIsNamed) {
  RunLog log = of_two_ranks();
  log.take(0, kHeader);
  log.take(1, "no trace\n");
  EXPECT_THROW(log.steps(), ConfigError);
}

}  // namespace
}  // namespace orrery::executor
