// SPDX-License-Identifier: Apache-2.0
#include "base/errors.h"
#include "tests/unit/executor/comm/every_backend.h"

#include <algorithm>
#include <random>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::Backend;
using ::testing::HasSubstr;
using testing::small_segment;

std::vector<std::byte> message_of(int number, std::size_t length) {
  std::vector<std::byte> message(length);
  std::mt19937 random(static_cast<unsigned>(number));
  for (std::byte& value : message) value = static_cast<std::byte>(random());
  return message;
}

SegmentOptions segment_with_ring(std::int64_t ring_bytes) {
  SegmentOptions options = small_segment(2);
  options.ring_bytes = ring_bytes;
  return options;
}

class MessageLength : public ::testing::TestWithParam<std::tuple<Backend, std::size_t>> {};
// Nothing, one byte, about the ring of 4096 bytes with and without the header, and far beyond it.
INSTANTIATE_TEST_SUITE_P(Bytes, MessageLength,
                         ::testing::Combine(::testing::ValuesIn(testing::backends()),
                                            ::testing::Values(0, 1, 4079, 4080, 4081, 4096, 4097, 1'000'003)),
                         [](const auto& message) {
                           return name_of(std::get<0>(message.param)) + "_" +
                                  std::to_string(std::get<1>(message.param));
                         });

TEST_P(MessageLength, ArrivesUnchangedAndCountsForTheSenderOnly) {
  const auto [backend, length] = GetParam();
  testing::run_over(backend, segment_with_ring(4096), [length = length](Endpoint& endpoint) {
    const auto world = endpoint.world();
    for (int number = 0; number < 5; ++number) {
      std::vector<std::byte> message = message_of(number, length);
      if (world->rank() == 0) {
        const CommReport report = world->send(message, 1, "pp.send_act");
        EXPECT_EQ(report.bytes_sent, static_cast<std::int64_t>(length));
        EXPECT_EQ(report.last_peer, 1);
      } else {
        std::vector<std::byte> received(length);
        const CommReport report = world->receive(received, 0, "pp.recv_act");
        EXPECT_TRUE(received == message) << number;
        EXPECT_EQ(report.bytes_sent, 0);
        EXPECT_EQ(report.last_peer, 0);
        EXPECT_LE(report.last_arrival, now());
      }
    }
  });
}

class TransferOfGroup : public testing::OfEveryBackend {
 protected:
  /// Bytes for which neither a ring of 1024 bytes nor the sockets of two hosts nor a stream over MPI has room.
  static std::size_t much() { return GetParam() == Backend::tcp || GetParam() == Backend::mpi ? 50'000'000 : 3000; }
  /// Messages of a hundred for which there is room however late the receiver is: over MPI each may take a block of its
  /// stream.
  static int num_with_room() { return GetParam() == Backend::mpi ? 32 : 100; }
};
ORRERY_INSTANTIATE_BACKENDS(TransferOfGroup);

TEST_P(TransferOfGroup, ManyMessagesLeaveBeforeTheReceiverCallsAndArriveInOrder) {
  constexpr int kMessages = 100;
  run_ranks(segment_with_ring(std::int64_t{1100} * kMessages), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    if (world->rank() == 0) {
      for (int number = 0; number < kMessages; ++number) {
        const auto message = message_of(number, 1000);
        const auto transfer = world->start_send(message, 1, "pp.send_act");
        EXPECT_TRUE(transfer->test() || number >= num_with_room()) << "there is room for message " << number;
        transfer->wait();
      }
      world->barrier("step/sent");
    } else {
      world->barrier("step/sent");
      for (int number = 0; number < kMessages; ++number) {
        std::vector<std::byte> received(1000);
        world->receive(received, 0, "pp.recv_act");
        ASSERT_TRUE(received == message_of(number, 1000)) << number;
      }
    }
  });
}

TEST_P(TransferOfGroup, ASendWithoutRoomStaysPendingUntilTheReceiverMakesSome) {
  run_ranks(segment_with_ring(1024), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    const auto message = message_of(0, much());
    if (world->rank() == 0) {
      const auto transfer = world->start_send(message, 1, "pp.send_act");
      EXPECT_FALSE(transfer->test());
      world->barrier("step/before");
      const Instant before = now();
      EXPECT_GE(transfer->wait().last_arrival, before) << "the peer came when it made room";
      EXPECT_TRUE(transfer->test());
    } else {
      world->barrier("step/before");
      std::vector<std::byte> received(much());
      world->receive(received, 0, "pp.recv_act");
      EXPECT_TRUE(received == message);
    }
  });
}

TEST_P(TransferOfGroup, AReceiveIsPendingUntilTheMessageComesAndTellsWhenItWasPosted) {
  run_ranks(segment_with_ring(4096), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    if (world->rank() == 0) {
      world->barrier("step/before");
      world->send(message_of(0, 10), 1, "pp.send_act");
    } else {
      std::vector<std::byte> received(10);
      const auto transfer = world->start_receive(received, 0, "pp.recv_act");
      EXPECT_FALSE(transfer->test());
      const Instant before = now();
      world->barrier("step/before");
      while (!transfer->test()) std::this_thread::yield();
      const CommReport report = transfer->wait();
      EXPECT_GT(report.last_arrival, before);
      EXPECT_LE(report.last_arrival, now());
      EXPECT_TRUE(received == message_of(0, 10));
    }
  });
}

TEST_P(TransferOfGroup, BothNeighboursMaySendFirstHoweverLongTheMessage) {
  run_ranks(segment_with_ring(4096), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    const int peer = 1 - world->rank();
    const auto message = message_of(world->rank(), 500'000);
    const auto transfer = world->start_send(message, peer, "pp.send");
    std::vector<std::byte> received(500'000);
    world->receive(received, peer, "pp.recv");
    transfer->wait();
    EXPECT_TRUE(received == message_of(peer, 500'000));
  });
}

TEST_P(TransferOfGroup, APendingSendOfOneGroupMovesWhileTheRankWaitsInAnother) {
  // Rank 1 enters the barrier of the world only when it has the message, which rank 0 must push through a small ring
  // while it waits in that barrier itself.
  run_ranks(segment_with_ring(1024), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    const auto edge = endpoint.group("pp 0>1", std::vector{0, 1});
    const auto message = message_of(0, 200'000);
    if (endpoint.rank() == 0) {
      const auto transfer = edge->start_send(message, 1, "pp.send_act");
      world->barrier("step/end");
      EXPECT_TRUE(transfer->test());
    } else {
      std::vector<std::byte> received(200'000);
      edge->receive(received, 0, "pp.recv_act");
      EXPECT_TRUE(received == message);
      world->barrier("step/end");
    }
  });
}

TEST_P(TransferOfGroup, PostedReceivesAreFilledInOrderWhicheverIsAskedFor) {
  run_ranks(segment_with_ring(1024), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    if (world->rank() == 0) {
      for (int number = 0; number < 4; ++number) world->send(message_of(number, 700), 1, "pp.send_act");
    } else {
      std::vector<std::vector<std::byte>> received(4, std::vector<std::byte>(700));
      std::vector<std::unique_ptr<Transfer>> transfers;
      for (auto& message : received) transfers.push_back(world->start_receive(message, 0, "pp.recv_act"));
      transfers.back()->wait();
      for (int number = 0; number < 4; ++number) {
        EXPECT_TRUE(transfers[static_cast<std::size_t>(number)]->test());
        EXPECT_TRUE(received[static_cast<std::size_t>(number)] == message_of(number, 700));
      }
    }
  });
}

TEST_P(TransferOfGroup, AMessageOfAnotherLengthThanExpectedBreaksACheck) {
  const auto errors = errors_of_ranks(segment_with_ring(4096), [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    std::vector<std::byte> message(endpoint.rank() == 0 ? 10 : 12);
    if (endpoint.rank() == 0) world->send(message, 1, "pp.send_act");
    if (endpoint.rank() == 1) world->receive(message, 0, "pp.recv_act");
  });
  EXPECT_EQ(errors[0], "");
  EXPECT_THAT(errors[1],
              HasSubstr("(key_ = pp.recv_act, channel_.peer_ = 0, header_.bytes = 10, message_.size() = 12)"));
}

}  // namespace
}  // namespace orrery::executor
