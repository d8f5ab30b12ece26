// SPDX-License-Identifier: Apache-2.0
// What only a network can do: strangers that connect, connections that break, peers that were never there.
#include "base/errors.h"
#include "base/fnv.h"
#include "base/sha256.h"
#include "tests/unit/executor/comm/thread_ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::Backend;
using testing::seats_of;
using testing::small_segment;

/// Moves bytes from one stream to the other until `ready` or for a second; whether it was.
bool within_a_second(const std::function<bool()>& ready) {
  const Instant deadline = now() + std::chrono::seconds(1);
  while (!ready()) {
    if (now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

/// Whether a byte that rank 0 writes arrives at rank 1.
bool a_byte_arrives(ByteStream& from, ByteStream& to) {
  const std::byte sent[] = {std::byte{42}};
  std::byte got[1] = {};
  std::size_t num_sent = 0;
  return within_a_second([&] {
    if (num_sent == 0) num_sent = from.write(sent);
    return to.read(got) == 1 && got[0] == sent[0];
  });
}

TEST(TcpPeers, ConnectTheStreamsThatHaveOneName) {
  std::vector<TcpSeat> seats = seats_of(Backend::tcp, 2);
  TcpPeers zero(std::move(seats[0]), 0), one(std::move(seats[1]), 1);
  const auto a0 = zero.open("a", 1, true), b0 = zero.open("b", 1, false);
  const auto b1 = one.open("b", 0, true), a1 = one.open("a", 0, false);
  EXPECT_TRUE(a_byte_arrives(*a0, *a1));
  EXPECT_TRUE(a_byte_arrives(*a1, *a0));
  EXPECT_TRUE(a_byte_arrives(*b1, *b0));
  EXPECT_EQ(zero.num_moved(), 3);
}

TEST(TcpPeers, OneWithoutTheTokenOfTheJobIsSentAway) {
  std::vector<TcpSeat> seats = seats_of(Backend::tcp, 2);
  seats[0].token = "of another job";
  TcpPeers zero(std::move(seats[0]), 0), one(std::move(seats[1]), 1);
  const auto from = zero.open("a", 1, true), to = one.open("a", 0, false);
  EXPECT_FALSE(a_byte_arrives(*from, *to));
  std::byte room[1];
  EXPECT_TRUE(within_a_second([&] { return from->read(room) == 0 && from->closed(); }));
  EXPECT_FALSE(to->closed()) << "the right one may still come";
}

TEST(TcpPeers, StrangersDoNotKeepTheRightOneOut) {
  std::vector<TcpSeat> seats = seats_of(Backend::tcp, 2);
  const HostPort place = seats[0].places[1];
  TcpPeers zero(std::move(seats[0]), 0), one(std::move(seats[1]), 1);
  const Descriptor silent = start_connecting(place);
  const Descriptor loud = start_connecting(place);
  const std::string request =
      "GET / HTTP/1.1\r\nHost: orrery\r\nUser-Agent: a long name that is longer than a hello\r\n"
      "Accept: */*\r\nAccept-Language: en\r\n\r\n";
  EXPECT_TRUE(within_a_second([&] { return send_some(loud, std::as_bytes(std::span(request))).bytes > 0; }));
  const auto from = zero.open("a", 1, true), to = one.open("a", 0, false);
  EXPECT_TRUE(a_byte_arrives(*from, *to));
}

TEST(TcpPeers, WhoWaitsForBytesSleepsThoughSomebodyComesForWhomNobodyWaits) {
  std::vector<TcpSeat> seats = seats_of(Backend::tcp, 2);
  const HostPort place = seats[0].places[1];
  TcpPeers zero(std::move(seats[0]), 0), one(std::move(seats[1]), 1);
  const auto from = zero.open("a", 1, true), to = one.open("a", 0, false);
  ASSERT_TRUE(a_byte_arrives(*from, *to));
  const auto early = zero.open("b", 1, true);
  const std::byte sent[] = {std::byte{42}};
  EXPECT_TRUE(within_a_second([&] { return early->write(sent) == 1; }));
  const Descriptor stranger = start_connecting(place);
  one.sleep(std::chrono::nanoseconds(0));  // the looks until now had to wait for the first connection
  for (int look = 0; look < 2; ++look) {
    std::byte room[1];
    EXPECT_EQ(to->read(room), 0);
    const Instant start = now();
    one.sleep(std::chrono::milliseconds(100));
    EXPECT_GE(now() - start, std::chrono::milliseconds(90));
  }
  const auto late = one.open("b", 0, false);
  std::byte room[1];
  EXPECT_TRUE(within_a_second([&] { return late->read(room) == 1; }));
}

/// A rank that has the token all the same: of another version, or one that was told a wrong place.
TEST(TcpPeers, AHelloOfAnotherVersionOrForAnotherRankIsNotTaken) {
  std::vector<TcpSeat> seats = seats_of(Backend::tcp, 3);
  seats[0].places[2] = seats[0].places[1];
  const HostPort place = seats[0].places[1];
  TcpPeers zero(std::move(seats[0]), 0), one(std::move(seats[1]), 1);
  StreamHello old{.magic = 1, .name = {fnv1a("a"), 0, 1}};
  std::ranges::copy(sha256_hex("secret of the test"), old.token_hash.begin());
  TcpStream of_another_version(zero, old, start_connecting(place));
  const auto astray = zero.open("a", 2, true), to = one.open("a", 0, false);
  EXPECT_FALSE(a_byte_arrives(of_another_version, *to));
  std::byte room[1];
  for (ByteStream* stream : {static_cast<ByteStream*>(&of_another_version), astray.get()})
    EXPECT_TRUE(within_a_second([&] { return stream->read(room) + to->read(room) == 0 && stream->closed(); }));
}

TEST(TcpPeers, AHostWhereNobodyListensIsClosedAtOnce) {
  std::vector<TcpSeat> seats = seats_of(Backend::tcp, 2);
  seats[1].listener.close();
  TcpPeers zero(std::move(seats[0]), 0);
  const auto stream = zero.open("a", 1, true);
  const std::byte sent[] = {std::byte{42}};
  EXPECT_TRUE(within_a_second([&] { return stream->write(sent) == 0 && stream->closed(); }));
}

/// A rank of another host that dies: its segment is not ours, so only its connections tell.
TEST(StreamCommunicator, APeerThatClosesItsConnectionIsNamedUnlessSomebodyKnowsMore) {
  for (const bool has_news : {false, true}) {
    std::vector<TcpSeat> seats = seats_of(Backend::tcp, 2);
    const auto own = Segment::create(small_segment(2)), other = Segment::create(small_segment(2));
    std::thread peer([&] {
      Endpoint endpoint(other, 1, std::make_unique<TcpPeers>(std::move(seats[1]), 1));
      endpoint.world()->barrier("step/start");
      own->set_key(1, "step/mb0/stage1/layer3/fwd/moe.experts");  // as a launcher would
    });
    Endpoint endpoint(own, 0, std::make_unique<TcpPeers>(std::move(seats[0]), 0));
    const auto world = endpoint.world();
    world->barrier("step/start");
    peer.join();
    std::thread news([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      if (has_news) own->fail(1, "killed by signal 9 (Killed)");
    });
    std::string message;
    try {
      world->barrier("step/end");
    } catch (const BackendError& error) {
      message = error.what();
    }
    news.join();
    EXPECT_EQ(message, has_news ? "rank 0, step/end: barrier: stopped by a failure elsewhere: rank 1, "
                                  "step/mb0/stage1/layer3/fwd/moe.experts: killed by signal 9 (Killed)"
                                : "rank 0, step/end: barrier: rank 1 is gone; its last op was "
                                  "step/mb0/stage1/layer3/fwd/moe.experts");
  }
}

TEST(StreamCommunicator, APeerThatClosesItsConnectionBeforeAMessageIsNamed) {
  std::vector<TcpSeat> seats = seats_of(Backend::tcp, 2);
  SegmentOptions options = small_segment(2);
  options.time_out = std::chrono::seconds(1);  // how long the rank waits for news of why
  const auto own = Segment::create(options), other = Segment::create(options);
  std::vector<std::byte> message(10);
  std::thread peer([&, message] {
    Endpoint endpoint(other, 1, std::make_unique<TcpPeers>(std::move(seats[1]), 1));
    const auto world = endpoint.world();
    world->send(message, 0, "step/send");
    world->barrier("step/sent");
  });
  Endpoint endpoint(own, 0, std::make_unique<TcpPeers>(std::move(seats[0]), 0));
  const auto world = endpoint.world();
  world->receive(message, 1, "step/recv");
  world->barrier("step/sent");
  peer.join();
  const auto transfer = world->start_receive(message, 1, "step/next");
  try {
    while (!transfer->test()) std::this_thread::yield();
    FAIL() << "nobody is there";
  } catch (const BackendError& error) {
    EXPECT_STREQ(error.what(), "rank 0, step/next: receive: rank 1 is gone; it has not begun any op");
  }
}

TEST(StreamCommunicator, InstantsOfAnotherHostAreReadOnTheClockOfThisOne) {
  std::vector<TcpSeat> seats = seats_of(Backend::tcp, 2);
  SegmentOptions late = small_segment(2);
  late.clock_offset = std::chrono::hours(-5);  // its clock shows five hours more than that of the run
  const auto zero = Segment::create(small_segment(2)), one = Segment::create(late);
  CommReport seen_by_zero, seen_by_one;
  std::thread peer([&] {
    Endpoint endpoint(one, 1, std::make_unique<TcpPeers>(std::move(seats[1]), 1));
    seen_by_one = endpoint.world()->barrier("step/start");
  });
  Endpoint endpoint(zero, 0, std::make_unique<TcpPeers>(std::move(seats[0]), 0));
  seen_by_zero = endpoint.world()->barrier("step/start");
  peer.join();
  // The test has one clock, and so has each rank but for what it was told.
  EXPECT_EQ(seen_by_zero.last_arrival, seen_by_one.own_arrival + late.clock_offset);
  EXPECT_EQ(seen_by_one.last_arrival, seen_by_zero.own_arrival - late.clock_offset);
}

TEST(StreamCommunicator, ALongMessageMayTakeLongerThanTheTimeOutAsLongAsItMoves) {
  SegmentOptions options = small_segment(2);
  options.time_out = std::chrono::milliseconds(400);
  constexpr std::size_t kBytes = 20'000'000, kPieces = 8;
  std::vector<TcpSeat> seats = seats_of(Backend::tcp, 2);
  const auto segment = Segment::create(options);
  const Instant start = now();
  std::thread slow([&] {  // a receiver that takes its time over each piece
    TcpPeers peers(std::move(seats[1]), 1);
    const auto stream = peers.open("world 0>1", 0, false);
    std::vector<std::byte> room(kBytes + 16);  // with the header
    for (std::size_t piece = 1, num_read = 0; piece <= kPieces; ++piece) {
      std::this_thread::sleep_for(std::chrono::milliseconds(150));
      const std::size_t end = room.size() * piece / kPieces;
      while (num_read < end) num_read += stream->read(std::span(room).subspan(num_read, end - num_read));
    }
  });
  Endpoint endpoint(segment, 0, std::make_unique<TcpPeers>(std::move(seats[0]), 0));
  const std::vector<std::byte> message(kBytes);
  EXPECT_EQ(endpoint.world()->send(message, 1, "step/send").bytes_sent, kBytes);
  slow.join();
  EXPECT_GT(now() - start, 2 * options.time_out);
  EXPECT_GT(segment->num_moves(0), 0) << "the launcher sees it, too";
}

}  // namespace
}  // namespace orrery::executor
