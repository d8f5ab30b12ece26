// SPDX-License-Identifier: Apache-2.0
#include "base/errors.h"
#include "tests/unit/executor/comm/every_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

using ::testing::ElementsAre;
using testing::small_segment;

SegmentOptions impatient(int num_ranks, std::chrono::milliseconds time_out = std::chrono::milliseconds(200)) {
  SegmentOptions options = small_segment(num_ranks);
  options.time_out = time_out;
  return options;
}

class Wait : public testing::OfEveryBackend {};
ORRERY_INSTANTIATE_BACKENDS(Wait);

TEST_P(Wait, ARankThatDoesNotComeEndsTheWaitAfterTheTimeOut) {
  std::atomic<bool> over = false;
  const auto errors = errors_of_ranks(impatient(2), [&](Endpoint& endpoint) {
    const auto world = endpoint.world();
    if (endpoint.rank() == 1) {
      endpoint.set_key("step/mb0/stage1/layer3/fwd/attn.core");
      while (!over) std::this_thread::yield();
      return;
    }
    const Instant start = now();
    try {
      world->barrier("step/sync/barrier");
    } catch (const BackendError& error) {
      EXPECT_EQ(error.rank(), 0);
      EXPECT_LT(now() - start, std::chrono::seconds(20));
      over = true;
      throw;
    }
  });
  EXPECT_THAT(errors,
              ElementsAre("rank 0, step/sync/barrier: barrier: rank 1 did not come within 0.2 s; its last op was "
                          "step/mb0/stage1/layer3/fwd/attn.core",
                          ""));
}

TEST_P(Wait, ARankThatHasEndedIsNotWaitedFor) {
  const auto errors = errors_of_ranks(small_segment(2), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    if (endpoint.rank() == 1) return;
    std::vector<std::byte> message(10);
    world->receive(message, 1, "step/mb0/stage1/fwd/pp.recv_act");
  });
  EXPECT_THAT(errors,
              ElementsAre("rank 0, step/mb0/stage1/fwd/pp.recv_act: receive: rank 1 is gone; it has not begun any "
                          "op",
                          ""));
}

TEST_P(Wait, WhatARankDidBeforeItEndedStillCounts) {
  run_ranks(small_segment(2), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    std::vector<std::byte> message(10);
    if (endpoint.rank() == 1) {
      world->send(message, 0, "step/send");
      return;
    }
    while (!endpoint.segment().gone(1)) std::this_thread::yield();
    world->receive(message, 1, "step/recv");
  });
}

TEST(WaitInMemory, AProcessThatDiedWithoutAWordIsNoticed) {
  const auto segment = Segment::create(small_segment(2));
  const pid_t child = ::fork();
  if (child == 0) {
    segment->set_running(1);
    segment->set_key(1, "step/mb2/stage1/fwd/moe.experts");
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  Endpoint endpoint(segment, 0);
  const auto world = endpoint.world();
  std::vector<float> values(100);
  try {
    world->all_reduce(std::span<float>(values), "step/sync/dp.grad_ar");
    FAIL() << "the peer is dead";
  } catch (const BackendError& error) {
    EXPECT_STREQ(error.what(),
                 "rank 0, step/sync/dp.grad_ar: all_reduce: rank 1 is gone; its last op was "
                 "step/mb2/stage1/fwd/moe.experts");
  }
}

TEST_P(Wait, AFailureOfOneRankEndsTheWaitsOfAllOthersAndNamesIt) {
  const auto errors = errors_of_ranks(small_segment(4), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    world->barrier("step/start");
    if (endpoint.rank() == 2) {
      endpoint.set_key("step/mb0/stage0/head/fwd/loss");
      const auto is_in = [&](int rank, const char* key) { return endpoint.segment().key(rank) == key; };
      while (!is_in(0, "step/next") || !is_in(1, "step/next") || !is_in(3, "step/send")) std::this_thread::yield();
      endpoint.segment().fail(2, "the loss is not a number");
      while (!endpoint.segment().gone(0)) std::this_thread::yield();
      return;
    }
    if (endpoint.rank() == 3) {
      std::vector<std::byte> message(50'000'000);  // for which nobody has room
      world->send(message, 0, "step/send");
    }
    world->barrier("step/next");
  });
  const std::string cause =
      "stopped by a failure elsewhere: rank 2, step/mb0/stage0/head/fwd/loss: the loss is not a number";
  EXPECT_THAT(errors, ElementsAre("rank 0, step/next: barrier: " + cause, "rank 1, step/next: barrier: " + cause, "",
                                  "rank 3, step/send: send: " + cause));
}

TEST_P(Wait, ARankThatPollsSeveralTransfersWaitsForAnyOfThem) {
  run_ranks(small_segment(3), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    std::vector<std::byte> message(10);
    if (endpoint.rank() == 2) world->send(message, 0, "step/send");
    if (endpoint.rank() == 0) {
      const auto never = world->start_receive(message, 1, "step/recv_1");
      const auto soon = world->start_receive(message, 2, "step/recv_2");
      endpoint.wait_until([&] { return never->test() || soon->test(); }, "poll", "step/recv_1", 1);
      EXPECT_FALSE(never->test());
      EXPECT_TRUE(soon->test());
    }
    world->barrier("step/end");
  });
}

TEST_P(Wait, PollingInVainEndsAfterTheTimeOut) {
  const auto errors = errors_of_ranks(impatient(1), [](Endpoint& endpoint) {
    endpoint.wait_until([] { return false; }, "poll", "step/mb0/stage0/fwd/pp.recv_act", 0);
  });
  EXPECT_THAT(errors,
              ElementsAre("rank 0, step/mb0/stage0/fwd/pp.recv_act: poll: rank 0 did not come within 0.2 s; its "
                          "last op was step/mb0/stage0/fwd/pp.recv_act"));
}

TEST_P(Wait, TestingATransferNoticesThatTheRunWasStopped) {
  const auto errors = errors_of_ranks(small_segment(2), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    if (endpoint.rank() == 0) {
      endpoint.segment().fail(0, "out of paper");
      return;
    }
    std::vector<std::byte> message(10);
    const auto transfer = world->start_receive(message, 0, "step/recv");
    while (!transfer->test()) std::this_thread::yield();
  });
  EXPECT_THAT(errors,
              ElementsAre("", "rank 1, step/recv: receive: stopped by a failure elsewhere: rank 0: out of paper"));
}

}  // namespace
}  // namespace orrery::executor
