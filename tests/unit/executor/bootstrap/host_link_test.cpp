// SPDX-License-Identifier: Apache-2.0
#include "executor/bootstrap/host_link.h"

#include "base/errors.h"
#include "tests/unit/executor/bootstrap/jobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using ::testing::Each;
using testing::errors_of_processes;
using testing::free_place;
using testing::options_of;

bool within(std::chrono::nanoseconds time, const std::function<bool()>& ready) {
  const Instant deadline = now() + time;
  while (!ready() && now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return ready();
}

/// Two hosts of two ranks each, with a segment and a link each.
void on_two_hosts(std::chrono::nanoseconds time_out, const std::function<void(Job&, Segment&)>& body) {
  const HostPort rendezvous = free_place();
  const auto errors = errors_of_processes(2, [&](int process) {
    Job job(options_of(process, 2, rendezvous, time_out), 4, {});
    const auto segment = Segment::create({.num_ranks = 4, .total_bytes = std::int64_t{1} << 24});
    const HostLink link(job, *segment);
    body(job, *segment);
  });
  EXPECT_THAT(errors, Each(""));
}

TEST(HostLink, TellsWhatTheRanksOfOtherHostsDo) {
  on_two_hosts(std::chrono::seconds(30), [](Job& job, Segment& segment) {
    const int own = job.first_rank(), other = 2 - own;
    segment.set_key(own + 1, job.is_first() ? "step/of 0" : "step/of 1");
    const std::string expected = job.is_first() ? "step/of 1" : "step/of 0";
    EXPECT_TRUE(within(std::chrono::seconds(20), [&] { return segment.key(other + 1) == expected; }));
    EXPECT_EQ(segment.key(other), "");
    EXPECT_FALSE(segment.failure().has_value());
    job.gather({"", ""});
    job.finish();
  });
}

TEST(HostLink, AFailureOnOneHostStopsTheOtherWithWhoWhereAndWhich) {
  on_two_hosts(std::chrono::seconds(30), [](Job& job, Segment& segment) {
    if (!job.is_first()) {
      segment.set_key(3, "step/mb0/stage1/layer3/fwd/moe.experts");
      segment.fail(3, "killed by signal 9 (Killed)");
      return;  // the link says so although the launcher ends at once
    }
    ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return segment.failure().has_value(); }));
    EXPECT_EQ(segment.failure()->rank, 3);
    EXPECT_EQ(segment.failure()->key, "step/mb0/stage1/layer3/fwd/moe.experts");
    EXPECT_EQ(segment.failure()->text, "on " + job.name_of_process(1) + ": killed by signal 9 (Killed)");
    EXPECT_THAT(job.name_of_process(1), ::testing::EndsWith(" (ranks 2 to 3)"));
  });
}

TEST(HostLink, ALauncherThatDiesEndsTheRun) {
  on_two_hosts(std::chrono::seconds(30), [](Job& job, Segment& segment) {
    if (!job.is_first()) {
      testing::die_as(job.options(), 1);
      return;
    }
    ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return segment.failure().has_value(); }));
    EXPECT_EQ(segment.failure()->rank, 2);
    EXPECT_EQ(segment.failure()->text, "on " + job.name_of_process(1) + ": its launcher is gone");
  });
}

TEST(HostLink, AHostWhoseRanksHaveEndedMayBeSilent) {
  on_two_hosts(std::chrono::seconds(1), [](Job& job, Segment& segment) {
    if (!job.is_first()) return;
    EXPECT_FALSE(within(std::chrono::milliseconds(1500), [&] { return segment.failure().has_value(); }));
  });
}

TEST(HostLink, AHostOfWhichNothingIsHeardEndsTheRun) {
  const HostPort rendezvous = free_place();
  std::atomic<bool> is_over = false;
  const auto errors = errors_of_processes(2, [&](int process) {
    const auto time_out = process == 0 ? std::chrono::seconds(1) : std::chrono::seconds(30);
    const Job job(options_of(process, 2, rendezvous, time_out), 4, {});
    if (process == 1) {  // its launcher hangs: no link
      while (!is_over) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return;
    }
    const auto segment = Segment::create({.num_ranks = 4, .total_bytes = std::int64_t{1} << 24});
    const HostLink link(job, *segment);
    EXPECT_TRUE(within(std::chrono::seconds(20), [&] { return segment->failure().has_value(); }));
    is_over = true;
    EXPECT_EQ(segment->failure()->rank, 2);
    EXPECT_EQ(segment->failure()->text, "on " + job.name_of_process(1) + ": nothing was heard of it for 1 s");
  });
  EXPECT_THAT(errors, Each(""));
}

}  // namespace
}  // namespace orrery::executor
