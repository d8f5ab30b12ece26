// SPDX-License-Identifier: Apache-2.0
// What a group over several hosts sends over the network; that it does what every other one does, the tests of the
// contract say.
#include "executor/comm/islands.h"

#include "tests/unit/executor/comm/thread_ranks.h"

#include <map>
#include <mutex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::Backend;
using testing::run_ranks;
using testing::small_segment;

/// "2+3": members of each island; "none".
std::string text_of(const std::vector<int>& hosts) {
  const auto islands = islands_of(hosts);
  if (!islands) return "none";
  std::string text;
  int next = 0;
  for (const Island& island : *islands) {
    EXPECT_EQ(island.first, next);
    next += island.size;
    text += (text.empty() ? "" : "+") + std::to_string(island.size);
  }
  return text;
}

TEST(Islands, AreTheHostsOfMembersThatStandNextToEachOther) {
  EXPECT_EQ(text_of({0, 0, 1, 1, 1}), "2+3");
  EXPECT_EQ(text_of({1, 1, 1, 0}), "3+1");
  EXPECT_EQ(text_of({4, 2, 2, 7}), "1+2+1");
  EXPECT_EQ(text_of({0, 0, 0}), "none") << "one host";
  EXPECT_EQ(text_of({0, 1, 2}), "none") << "nobody shares a host";
  EXPECT_EQ(text_of({0, 1, 0, 1}), "none") << "a sum in the order of the ranks would go to and fro";
}

/// Bytes that the ranks of each host have handed to the network.
class Sent {
 public:
  explicit Sent(Backend backend, int num_ranks) : hosts_(testing::hosts_of(backend, num_ranks)) {}
  void add(const Endpoint& endpoint, const CommReport& report) {
    const std::lock_guard lock(mutex_);
    by_host_[hosts_[static_cast<std::size_t>(endpoint.rank())]] += report.bytes_on_network;
    all_ += report.bytes_sent;
  }
  std::vector<std::int64_t> by_host() const {
    std::vector<std::int64_t> bytes;
    for (const auto& [host, sum] : by_host_) bytes.push_back(sum);
    return bytes;
  }
  std::int64_t all() const { return all_; }

 private:
  std::vector<int> hosts_;
  std::mutex mutex_;
  std::map<int, std::int64_t> by_host_;
  std::int64_t all_ = 0;
};

using Call = std::function<CommReport(Communicator& world)>;

/// What each host sends over the network for one call of five ranks; all of it counts as the carrier's formula says.
std::vector<std::int64_t> sent_over_network(Backend backend, const Call& call, std::int64_t formula) {
  Sent sent(backend, 5);
  run_ranks(backend, small_segment(5), [&](Endpoint& endpoint) {
    const auto world = endpoint.world();
    sent.add(endpoint, call(*world));
  });
  EXPECT_EQ(sent.all(), formula) << name_of(backend);
  return sent.by_host();
}

constexpr std::int64_t kCount = 5000;  // values: several chunks of 4096 bytes
using ::testing::ElementsAre;

TEST(Islands, EveryByteOfASumCrossesTheLinkOnceThereAndOnceBack) {
  const Call all_reduce = [](Communicator& world) {
    std::vector<float> values(kCount);
    return world.all_reduce(std::span<float>(values), "step/ar");
  };
  constexpr std::int64_t kBytes = kCount * 4, kFormula = 2 * 4 * kBytes;
  EXPECT_THAT(sent_over_network(Backend::shm, all_reduce, kFormula), ElementsAre(0, 0, 0));  // no network at all
  EXPECT_THAT(sent_over_network(Backend::unequal, all_reduce, kFormula), ElementsAre(kBytes, kBytes));
  // Islands of 2, 2 and 1: the one in the middle hands on what goes there and what comes back.
  EXPECT_THAT(sent_over_network(Backend::islands, all_reduce, kFormula), ElementsAre(kBytes, 2 * kBytes, kBytes));
  EXPECT_THAT(sent_over_network(Backend::tcp, all_reduce, kFormula), ::testing::Each(8 * kBytes / 5));
}

TEST(Islands, SumsOfBf16AreOnTheirWayInF32) {
  const Call all_reduce = [](Communicator& world) {
    std::vector<bf16> values(kCount);
    return world.all_reduce(std::span<bf16>(values), "step/ar");
  };
  EXPECT_THAT(sent_over_network(Backend::unequal, all_reduce, 2 * 4 * kCount * 2), ElementsAre(kCount * 4, kCount * 2));
}

TEST(Islands, OfAScatteredSumOnlyTheBlocksOfTheFirstHostComeBack) {
  const Call scatter = [](Communicator& world) {
    std::vector<float> values(kCount), own(kCount / 5);
    return world.reduce_scatter(std::span<const float>(values), std::span<float>(own), "step/rs");
  };
  EXPECT_THAT(sent_over_network(Backend::unequal, scatter, 4 * kCount * 4),
              ElementsAre(kCount * 4, kCount * 4 * 2 / 5));
}

TEST(Islands, EveryBlockOfAGatherCrossesTheLinkOnce) {
  const Call gather = [](Communicator& world) {
    std::vector<std::byte> own(1000), all(5000);
    return world.all_gather(own, all, "step/ag");
  };
  EXPECT_THAT(sent_over_network(Backend::unequal, gather, 4 * 5000), ElementsAre(2000, 3000));
  EXPECT_THAT(sent_over_network(Backend::islands, gather, 4 * 5000), ElementsAre(2 * 2000, 2 * 2000, 2 * 1000));
  EXPECT_THAT(sent_over_network(Backend::tcp, gather, 4 * 5000), ::testing::Each(4000));
}

TEST(Islands, PartsOfAnySizeCrossOnceAsWell) {
  const std::vector<std::int64_t> counts = {400, 0, 1300, 8, 4000};
  const Call gather = [&](Communicator& world) {
    std::vector<std::byte> own(static_cast<std::size_t>(counts[static_cast<std::size_t>(world.rank())])), all(5708);
    return world.all_gather_v(own, all, Blocks::contiguous(counts), "step/ag");
  };
  EXPECT_THAT(sent_over_network(Backend::unequal, gather, 4 * 5708), ElementsAre(400, 5308));
  const Call scatter = [&](Communicator& world) {
    std::vector<std::byte> own(static_cast<std::size_t>(counts[static_cast<std::size_t>(world.rank())])), all(5708);
    return world.reduce_scatter_v(SumType::f32, all, Blocks::contiguous(counts), own, "step/rs");
  };
  EXPECT_THAT(sent_over_network(Backend::unequal, scatter, 4 * 5708), ElementsAre(5708, 400));
}

TEST(Islands, ABroadcastCrossesOnceFromTheHostOfItsRoot) {
  for (const int root : {0, 1, 4}) {
    const Call broadcast = [&](Communicator& world) {
      std::vector<std::byte> values(1001);
      return world.broadcast(values, root, "step/bc");
    };
    EXPECT_THAT(sent_over_network(Backend::unequal, broadcast, 4 * 1001),
                root < 2 ? ElementsAre(1001, 0) : ElementsAre(0, 1001));
  }
}

TEST(Islands, AnExchangeAndMessagesUseTheNetworkOnlyForOtherHosts) {
  const Call exchange = [](Communicator& world) {
    std::vector<std::byte> input(500), output(500);
    return world.all_to_all_v(input, Blocks::even(5, 100), output, Blocks::even(5, 100), "step/a2a");
  };
  EXPECT_THAT(sent_over_network(Backend::unequal, exchange, 5 * 400), ElementsAre(600, 600));
  const Call around = [](Communicator& world) {
    std::vector<std::byte> out(10), in(10);
    const int next = (world.rank() + 1) % 5, previous = (world.rank() + 4) % 5;
    const auto sent = world.start_send(out, next, "step/send");
    world.receive(in, previous, "step/receive");
    return sent->wait();
  };
  EXPECT_THAT(sent_over_network(Backend::unequal, around, 50), ElementsAre(10, 10));
}

TEST(Islands, MembersInTurnsTalkOverTheNetworkAlone) {
  Sent sent(Backend::unequal, 5);
  run_ranks(Backend::unequal, small_segment(5), [&](Endpoint& endpoint) {
    if (endpoint.rank() == 4) return;
    const auto group = endpoint.group("mixed", std::vector{0, 2, 1, 3});
    std::vector<std::int64_t> values = {endpoint.rank()};
    sent.add(endpoint, group->all_reduce(std::span<std::int64_t>(values), "step/ar"));
    EXPECT_EQ(values[0], 6);
  });
  std::int64_t all = 0;
  for (const std::int64_t bytes : sent.by_host()) all += bytes;
  EXPECT_EQ(all, sent.all());
}

TEST(Islands, ARankThatStaysAwayIsNamedOnEveryHost) {
  SegmentOptions options = small_segment(5);
  options.time_out = std::chrono::milliseconds(200);
  const auto errors = testing::errors_of_ranks(Backend::unequal, options, [](Endpoint& endpoint) {
    const auto world = endpoint.world();
    if (endpoint.rank() == 4) std::this_thread::sleep_for(std::chrono::milliseconds(600));
    std::vector<float> values(kCount);
    world->all_reduce(std::span<float>(values), "step/ar");
  });
  for (std::size_t rank = 0; rank < 4; ++rank) {
    EXPECT_THAT(errors[rank], ::testing::HasSubstr("did not come within 0.2 s")) << rank;
    EXPECT_THAT(errors[rank], ::testing::HasSubstr("step/ar")) << rank;
  }
}

}  // namespace
}  // namespace orrery::executor
