// SPDX-License-Identifier: Apache-2.0
// What the streams over MPI do beyond the contract of all back ends. Between processes 0 and 1; the others only meet.
#include "executor/comm/mpi_peers.h"

#include "base/errors.h"
#include "executor/comm/mpi_stream.h"
#include "tests/unit/executor/comm/every_backend.h"
#include "tests/unit/executor/comm/mpi_backend.h"

#include <functional>
#include <numeric>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::own_rank;
using testing::small_segment;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// As many bytes as there are, in a pattern that no block repeats.
std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 2654435761U >> 13);
  return bytes;
}

void write_all(ByteStream& stream, std::span<const std::byte> bytes) {
  while (!bytes.empty()) bytes = bytes.subspan(stream.write(bytes));
}

std::vector<std::byte> read_all(ByteStream& stream, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t done = 0; done < size;) done += stream.read(std::span(bytes).subspan(done));
  return bytes;
}

/// Runs `body` on two ranks and lets them leave.
void on_two_ranks(const std::function<void(MpiPeers&, int rank)>& body) {
  if (own_rank() < 2) {
    MpiPeers peers(own_rank(), 2);
    body(peers, own_rank());
    peers.leave();
  }
  testing::meet();
}

TEST(MpiPeers, StreamsAreToldApartByTheirNamesHoweverTheyAreOpened) {
  on_two_ranks([](MpiPeers& peers, int rank) {
    const auto first = peers.open(rank == 0 ? "a" : "b", 1 - rank, rank == 0);
    const auto second = peers.open(rank == 0 ? "b" : "a", 1 - rank, rank == 0);
    if (rank == 0) {
      write_all(*first, bytes_of("of a"));
      write_all(*second, bytes_of("of b"));
    } else {
      EXPECT_EQ(read_all(*first, 4), bytes_of("of b"));
      EXPECT_EQ(read_all(*second, 4), bytes_of("of a"));
    }
  });
}

TEST(MpiPeers, TheTwoDirectionsOfAStreamDoNotWaitForEachOther) {
  on_two_ranks([](MpiPeers& peers, int rank) {
    const auto stream = peers.open("a", 1 - rank, rank == 0);
    write_all(*stream, bytes_of(rank == 0 ? "ping" : "pong"));
    EXPECT_EQ(read_all(*stream, 4), bytes_of(rank == 0 ? "pong" : "ping"));
  });
}

TEST(MpiPeers, SmallPiecesThatFollowAtOnceLeaveTogether) {
  on_two_ranks([](MpiPeers& peers, int rank) {
    const auto stream = peers.open("a", 1 - rank, rank == 0);
    const auto sign = peers.open("sign", 1 - rank, rank == 0);
    if (rank == 0) {
      EXPECT_EQ(stream->write(bytes_of("head"), /*more=*/true), 4);
      write_all(*sign, bytes_of("!"));
      EXPECT_EQ(read_all(*sign, 1), bytes_of("?"));
      EXPECT_EQ(stream->write(bytes_of("body")), 4);
    } else {
      EXPECT_EQ(read_all(*sign, 1), bytes_of("!"));
      std::byte room[8];
      for (int look = 0; look < 100; ++look) EXPECT_EQ(stream->read(room), 0) << "it has not left yet";
      write_all(*sign, bytes_of("?"));
      EXPECT_EQ(read_all(*stream, 8), bytes_of("headbody"));
    }
  });
}

TEST(MpiPeers, AWriterHasRoomForSoMuchAndThenWaitsForItsReader) {
  constexpr std::size_t kRoom = MpiStream::kBlockBytes * MpiStream::kMostUnderWay, kBytes = 3 * kRoom + 12345;
  on_two_ranks([&](MpiPeers& peers, int rank) {
    const auto stream = peers.open("a", 1 - rank, rank == 0);
    const auto sign = peers.open("sign", 1 - rank, rank == 0);
    const std::vector<std::byte> bytes = pattern(kBytes);
    if (rank == 0) {
      EXPECT_EQ(stream->write(bytes), kRoom);
      EXPECT_EQ(stream->write(std::span(bytes).subspan(kRoom)), 0);
      write_all(*sign, bytes_of("!"));
      write_all(*stream, std::span(bytes).subspan(kRoom));
      EXPECT_EQ(peers.num_moved(), kBytes + 1);
    } else {
      EXPECT_EQ(read_all(*sign, 1), bytes_of("!"));
      EXPECT_TRUE(read_all(*stream, kBytes) == bytes);
    }
  });
}

TEST(MpiPeers, WhatWasHandedOverArrivesThoughItsStreamIsGone) {
  on_two_ranks([](MpiPeers& peers, int rank) {
    const std::vector<std::byte> bytes = pattern(3 * MpiStream::kBlockBytes);
    if (rank == 0) {
      EXPECT_EQ(peers.open("a", 1, true)->write(bytes), bytes.size());
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      EXPECT_TRUE(read_all(*peers.open("a", 0, false), bytes.size()) == bytes);
    }
  });
}

TEST(MpiPeers, ARankThatMpiKnowsByAnotherNumberIsRefused) {
  const int rank = own_rank(), size = testing::num_processes();
  try {
    MpiPeers peers(rank + 1, size + 1);
    FAIL() << "there are not as many";
  } catch (const BackendError& error) {
    EXPECT_EQ(error.what(), "MPI knows this process as " + std::to_string(rank) + " of " + std::to_string(size) +
                                ", the job as rank " + std::to_string(rank + 1) + " of " + std::to_string(size + 1));
  }
}

// A peer that does not come: nothing of MPI tells, so the time-out does.
TEST(MpiWait, EndsAfterTheTimeOut) {
  SegmentOptions options = small_segment(2);
  options.time_out = std::chrono::milliseconds(300);
  const auto errors = testing::errors_over(testing::Backend::mpi, options, [](Endpoint& endpoint) {
    if (endpoint.rank() == 0) endpoint.world()->barrier("step/start");
  });
  EXPECT_EQ(errors[0], "rank 0, step/start: barrier: rank 1 did not come within 0.3 s; it has not begun any op");
}

// As the launcher does when it hears of a rank that has died elsewhere.
TEST(MpiWait, EndsWhenTheRunIsStopped) {
  const auto errors = testing::errors_over(testing::Backend::mpi, small_segment(2), [](Endpoint& endpoint) {
    if (endpoint.rank() == 1) return;
    std::jthread news([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      endpoint.segment().fail(1, "killed by signal 9 (Killed)");
    });
    std::vector<std::byte> message(10);
    endpoint.world()->receive(message, 1, "step/recv");
  });
  EXPECT_EQ(errors[0],
            "rank 0, step/recv: receive: stopped by a failure elsewhere: rank 1: killed by signal 9 (Killed)");
}

}  // namespace
}  // namespace orrery::executor
