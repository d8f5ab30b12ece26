// SPDX-License-Identifier: Apache-2.0
#include "sim/pair_traffic.h"

#include "base/rng.h"

#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::CommTime;
using costmodel::PathClass;
using ::testing::ElementsAre;

/// Nodes with as many members each as given; leaves of two nodes.
std::vector<Cluster::Location> members_on(const std::vector<int>& sizes) {
  std::vector<Cluster::Location> members;
  for (std::int64_t node = 0; node < std::ssize(sizes); ++node) {
    for (std::int64_t i = 0; i < sizes[static_cast<std::size_t>(node)]; ++i) {
      members.push_back({.group = 0, .node = node, .index = i, .domain = node, .leaf = node / 2});
    }
  }
  return members;
}

CommTime legs(double inside, double outside) {
  CommTime time;
  time.legs[0] = {.path = PathClass::node, .bytes = bytes(inside), .bandwidth = bytes_per_second(100e9)};
  time.legs[1] = {.path = PathClass::spine, .bytes = bytes(outside), .bandwidth = bytes_per_second(25e9)};
  time.num_legs = 2;
  return time;
}

/// Out and in of each member, within its domain and beyond.
std::map<std::uint32_t, std::array<double, 4>> loads(const std::vector<PairBytes>& pairs) {
  std::map<std::uint32_t, std::array<double, 4>> loads;
  for (const PairBytes& pair : pairs) {
    const std::size_t beyond = pair.path == PathClass::node ? 0 : 2;
    loads[pair.from][beyond] += pair.size.in(unit::byte);
    loads[pair.to][beyond + 1] += pair.size.in(unit::byte);
  }
  return loads;
}

MATCHER_P4(is_pair, from, to, path, size, "") {
  return arg.from == static_cast<std::uint32_t>(from) && arg.to == static_cast<std::uint32_t>(to) && arg.path == path &&
         std::abs(arg.size.in(unit::byte)-size) < 1e-9;
}

TEST(PairTraffic, OfAMessageIsOnePair) {
  EXPECT_THAT(pair_traffic(Pattern::message, members_on({1, 1}), legs(0, 700)),
              ElementsAre(is_pair(0, 1, PathClass::rail, 700)));
}

TEST(PairTraffic, OfRingsLoadsEveryPortAsTheLegsSay) {
  for (const auto& [member, load] : loads(pair_traffic(Pattern::ring, members_on({2, 2, 2}), legs(300, 500)))) {
    EXPECT_THAT(load, ElementsAre(300, 300, 500, 500)) << member;
  }
}

TEST(PairTraffic, OfRingsHasOneForEachMemberOfTheSmallestDomain) {
  EXPECT_THAT(pair_traffic(Pattern::ring, members_on({2, 1}), legs(300, 500)),
              ElementsAre(is_pair(0, 1, PathClass::node, 300), is_pair(0, 2, PathClass::rail, 500),
                          is_pair(1, 0, PathClass::node, 300), is_pair(2, 0, PathClass::rail, 500)));
}

TEST(PairTraffic, OfAShiftLeavesADomainOnce) {
  EXPECT_THAT(pair_traffic(Pattern::shift, members_on({2, 0, 1}), legs(300, 500)),
              ElementsAre(is_pair(0, 1, PathClass::node, 300), is_pair(1, 2, PathClass::spine, 500),
                          is_pair(2, 0, PathClass::spine, 500)));
}

TEST(PairTraffic, OfAnExchangeIsEveryPairOnItsWay) {
  const std::vector<PairBytes> pairs = pair_traffic(Pattern::all_to_all, members_on({2, 2, 2}), legs(300, 800));
  EXPECT_EQ(pairs.size(), 30);
  for (const auto& [member, load] : loads(pairs)) EXPECT_THAT(load, ElementsAre(300, 300, 800, 800)) << member;
  EXPECT_THAT(std::vector(pairs.begin(), pairs.begin() + 5),
              ElementsAre(is_pair(0, 1, PathClass::node, 300), is_pair(0, 2, PathClass::rail, 200),
                          is_pair(0, 3, PathClass::rail, 200), is_pair(0, 4, PathClass::spine, 200),
                          is_pair(0, 5, PathClass::spine, 200)));
}

TEST(PairTraffic, OfAnExchangeLetsNoTwoSendersMeet) {
  const std::vector<PairBytes> pairs = pair_traffic(Pattern::all_to_all, members_on({4, 4, 4}), legs(300, 800));
  std::map<std::uint32_t, std::uint32_t> next;                 // part of each sender on the network
  std::map<std::uint32_t, std::set<std::uint32_t>> receivers;  // of each step
  for (const PairBytes& pair : pairs) {
    if (pair.path == PathClass::node) continue;
    EXPECT_TRUE(receivers[next[pair.from]++].insert(pair.to).second);
  }
  EXPECT_EQ(receivers.size(), 8);
}

TEST(PairTraffic, GivesTheBusiestMemberWhatTheLegSaysAndOthersTheirPart) {
  // Member 2, alone on its node, gets three times as much from each of the others as they get from it.
  Payload payload(9, 1.0);
  payload[2] = payload[5] = 3.0;
  const auto load = loads(pair_traffic(Pattern::all_to_all, members_on({2, 1}), legs(300, 600), payload));
  EXPECT_THAT(load.at(2), ElementsAre(0, 0, 200, 600));
  EXPECT_THAT(load.at(0), ElementsAre(300, 300, 300, 100));
}

TEST(PairTraffic, OfTwoLevelsGoesByTheMemberAtTheSamePlace) {
  const std::vector<PairBytes> pairs = pair_traffic(Pattern::two_level, members_on({2, 2, 2}), legs(300, 800));
  EXPECT_EQ(pairs.size(), 6 * 2 + 3 * 2);
  for (const auto& [member, load] : loads(pairs)) EXPECT_THAT(load, ElementsAre(300, 300, 800, 800)) << member;
  EXPECT_THAT(std::vector(pairs.begin(), pairs.begin() + 3),
              ElementsAre(is_pair(0, 2, PathClass::rail, 400), is_pair(0, 4, PathClass::spine, 400),
                          is_pair(0, 1, PathClass::node, 300)));
}

TEST(PairTraffic, OfTwoLevelsHandsOnWhatArrived) {
  // All rows are for member 3, on the other node beside 2: those of 0 come by 2, which hands them on; 1 has the place
  // of
  // 3. Across go 5 and 5, within a node 5 on either: 2 to 3.
  Payload payload(16, 0.0);
  payload[0 * 4 + 3] = payload[1 * 4 + 3] = 5.0;
  EXPECT_THAT(pair_traffic(Pattern::two_level, members_on({2, 2}), legs(300, 800), payload),
              ElementsAre(is_pair(0, 2, PathClass::rail, 800), is_pair(1, 3, PathClass::rail, 800),
                          is_pair(2, 3, PathClass::node, 300)));
}

TEST(PairTraffic, IsNothingForALegWithoutBytes) {
  for (const Pattern pattern : {Pattern::ring, Pattern::all_to_all, Pattern::two_level}) {
    for (const PairBytes& pair : pair_traffic(pattern, members_on({2, 2}), legs(0, 600))) {
      EXPECT_NE(pair.path, PathClass::node);
    }
  }
}

TEST(BetweenEnds, AddsUpWhatMembersOfANodeSend) {
  const std::vector<std::uint32_t> node = {0, 0, 1, 1};
  EXPECT_THAT(between_ends(pair_traffic(Pattern::all_to_all, members_on({2, 2}), legs(300, 600)), node, {node, node}),
              ElementsAre(is_pair(0, 0, PathClass::node, 600), is_pair(0, 1, PathClass::rail, 1200),
                          is_pair(1, 1, PathClass::node, 600), is_pair(1, 0, PathClass::rail, 1200)));
}

TEST(BetweenEnds, LetsAMemberReceiveForItselfOnTheNetwork) {
  const std::vector<std::uint32_t> node = {0, 0, 1, 1}, apart = {0, 0, 1, 2};
  EXPECT_THAT(between_ends(pair_traffic(Pattern::all_to_all, members_on({2, 2}), legs(300, 600)), node, {node, apart}),
              ElementsAre(is_pair(0, 0, PathClass::node, 600), is_pair(0, 1, PathClass::rail, 600),
                          is_pair(0, 2, PathClass::rail, 600), is_pair(1, 1, PathClass::node, 600),
                          is_pair(1, 0, PathClass::rail, 1200)));
}

void quantise_all(std::vector<PairBytes>& pairs, std::size_t num_ends) {
  const std::vector<PairEnd> ends(num_ends);
  for (const bool network : {false, true}) quantise(pairs, network, ends);
}

TEST(Quantise, LeavesEqualSizesAlone) {
  const std::vector<PairBytes> before = pair_traffic(Pattern::all_to_all, members_on({4, 4}), legs(3000, 8000));
  std::vector<PairBytes> after = before;
  quantise_all(after, 8);
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_NEAR(after[i].size.in(unit::byte), before[i].size.in(unit::byte), 1e-9);
  }
}

TEST(Quantise, KeepsTotalsAndTheBusiestWithFewSizes) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    // Popularity of receivers as of experts, a factor of e^0.8 one standard deviation up, and 10 % by pair.
    const CounterRng rng(seed, 0);
    const std::vector<int> sizes = {8, 8, 8, 8};
    Payload payload;
    for (std::uint64_t pair = 0; pair < 32 * 32; ++pair) {
      payload.push_back(std::exp(0.8 * rng.normal(pair % 32) + 0.1 * rng.normal(1000 + pair)));
    }
    const auto before = pair_traffic(Pattern::all_to_all, members_on(sizes), legs(1e6, 5e6), payload);
    auto after = before;
    quantise_all(after, 32);
    std::set<std::int64_t> different;
    double total_before = 0.0, total_after = 0.0, busiest = 0.0;
    for (std::size_t i = 0; i < before.size(); ++i) {
      total_before += before[i].size.in(unit::byte);
      total_after += after[i].size.in(unit::byte);
      different.insert(std::llround(after[i].size.in(unit::byte) * 1e3));
    }
    EXPECT_NEAR(total_after, total_before, 0.03 * total_before) << seed;
    EXPECT_LE(different.size(), 60) << seed;
    for (const auto& [member, load] : loads(after)) busiest = std::max({busiest, load[2], load[3]});
    EXPECT_NEAR(busiest, 5e6, 1.0) << seed;
  }
}

TEST(Quantise, KeepsTheBusiestByTheLinksOfEachEnd) {
  // The second has ten links where the first has one: it is not busy, though it sends most.
  std::vector<PairBytes> pairs = {{.from = 0, .to = 2, .path = PathClass::rail, .size = bytes(700)},
                                  {.from = 1, .to = 2, .path = PathClass::rail, .size = bytes(1000)}};
  const std::vector<PairEnd> ends = {{.out = 1.0}, {.out = 10.0}, {.in = 10.0}};
  quantise(pairs, true, ends);
  EXPECT_NEAR(pairs[0].size.in(unit::byte), 700, 1e-9);
}

TEST(Quantise, GivesTheBusiestLeafAndPodNoLess) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const CounterRng rng(seed, 0);
    std::vector<PairBytes> before;
    for (std::uint32_t from = 0; from < 8; ++from) {
      for (std::uint32_t to = 0; to < 8; ++to) {
        if (from == to) continue;
        before.push_back({.from = from,
                          .to = to,
                          .path = from / 2 == to / 2 ? PathClass::rail : PathClass::spine,
                          .size = bytes(1e6 * std::exp(rng.normal(8 * from + to)))});
      }
    }
    std::vector<PairEnd> ends(8);
    for (std::size_t i = 0; i < ends.size(); ++i) {
      ends[i].leaf = static_cast<std::int64_t>(i) / 2;
      ends[i].pod = static_cast<std::int64_t>(i) / 4;
    }
    auto after = before;
    quantise(after, true, ends);
    for (const std::uint32_t nodes : {2U, 4U}) {
      const auto busiest = [&](const std::vector<PairBytes>& pairs) {
        std::map<std::uint32_t, double> out, in;
        double most = 0.0;
        for (const PairBytes& pair : pairs) {
          const std::uint32_t a = pair.from / nodes, b = pair.to / nodes;
          if (a == b) continue;
          most = std::max({most, out[a] += pair.size.in(unit::byte), in[b] += pair.size.in(unit::byte)});
        }
        return most;
      };
      EXPECT_GE(busiest(after), busiest(before) * (1.0 - 1e-12)) << seed << ", " << nodes;
    }
  }
}

}  // namespace
}  // namespace orrery::sim
