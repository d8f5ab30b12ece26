// SPDX-License-Identifier: Apache-2.0
#include "program/schedule.h"

#include <string>

#include <gtest/gtest.h>

namespace orrery {
namespace {

/// "F0.3 B0.1": kind, stage, micro-batch.
std::string text_of(const std::vector<Slot>& slots) {
  std::string out;
  for (const Slot& slot : slots) {
    if (!out.empty()) out += ' ';
    out += slot.kind == Slot::Kind::forward ? 'F' : 'B';
    out += std::to_string(slot.stage) + '.' + std::to_string(slot.micro_batch);
  }
  return out;
}

std::string order(Schedule schedule, std::int64_t p, std::int64_t m, std::int64_t rank) {
  return text_of(slots_of(schedule, {.num_ranks = p, .num_micro_batches = m}, rank));
}

TEST(Schedule, OneForwardOneBackwardHasTheGoldenOrder) {
  EXPECT_EQ(order(Schedule::one_f_one_b, 4, 8, 0),
            "F0.0 F0.1 F0.2 F0.3 B0.0 F0.4 B0.1 F0.5 B0.2 F0.6 B0.3 F0.7 B0.4 B0.5 B0.6 B0.7");
  EXPECT_EQ(order(Schedule::one_f_one_b, 4, 8, 1),
            "F1.0 F1.1 F1.2 B1.0 F1.3 B1.1 F1.4 B1.2 F1.5 B1.3 F1.6 B1.4 F1.7 B1.5 B1.6 B1.7");
  EXPECT_EQ(order(Schedule::one_f_one_b, 4, 8, 3),
            "F3.0 B3.0 F3.1 B3.1 F3.2 B3.2 F3.3 B3.3 F3.4 B3.4 F3.5 B3.5 F3.6 B3.6 F3.7 B3.7");
}

TEST(Schedule, OneForwardOneBackwardWithFewMicroBatchesIsAllWarmUp) {
  EXPECT_EQ(order(Schedule::one_f_one_b, 4, 2, 0), "F0.0 F0.1 B0.0 B0.1");
}

TEST(Schedule, GPipeRunsAllForwardsFirst) {
  EXPECT_EQ(order(Schedule::gpipe, 2, 3, 1), "F1.0 F1.1 F1.2 B1.0 B1.1 B1.2");
}

TEST(Schedule, SaysWhichOrdersItKnows) {
  EXPECT_TRUE(is_lowered(Schedule::gpipe));
  EXPECT_TRUE(is_lowered(Schedule::one_f_one_b));
  EXPECT_FALSE(is_lowered(Schedule::interleaved));
  EXPECT_FALSE(is_lowered(Schedule::dualpipe));
}

}  // namespace
}  // namespace orrery
