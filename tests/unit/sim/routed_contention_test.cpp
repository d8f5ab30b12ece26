// SPDX-License-Identifier: Apache-2.0
// Flows that meet on links between switches: cables of a torus or dragonfly, and uplinks on which a hash puts whole
// flows. Ends by hand, and those of the independent solver (max_min.h) on routes that are written down again here.
#include "base/rng.h"
#include "program/topology/traffic.h"
#include "sim/engine.h"
#include "sim/link_use.h"
#include "sim/simulate.h"
#include "tests/unit/sim/hand_timed.h"
#include "tests/unit/sim/max_min.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using namespace orrery::testing;
using costmodel::PathClass;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::Pointwise;

constexpr double kTolerance = 0.01;
constexpr double kNic = 25.0, kLink = 10.0;  // GB/s

/// One device and one node for each router, unless `nodes_per_router` says otherwise.
Cluster routers(FabricKind kind, std::vector<std::int64_t> dimensions, std::int64_t nodes_per_router = 1) {
  std::int64_t num_nodes = nodes_per_router;
  for (const std::int64_t size : dimensions) num_nodes *= size;
  Cluster cluster = small_cluster(num_nodes, 1);
  cluster.fabric = {.kind = kind,
                    .nodes_per_leaf = nodes_per_router,
                    .dimensions = std::move(dimensions),
                    .link = bytes_per_second(kLink * 1e9),
                    .global_link = bytes_per_second(kLink * 1e9),
                    .hop_latency = microseconds(1)};
  return cluster;
}

/// Fat tree of leaves of `nodes_per_leaf` nodes, each with a NIC, and as many spines.
Cluster tree(std::int64_t num_nodes, std::int64_t nodes_per_leaf) {
  Cluster cluster = small_cluster(num_nodes, 1);
  cluster.fabric = {.kind = FabricKind::fat_tree, .nodes_per_leaf = nodes_per_leaf};
  return cluster;
}

struct Message {
  std::int32_t from = 0, to = 0;  // nodes
  double megabytes = 1.0;
  double cap = kLink;  // GB/s
};

/// Two ranks for each message, so that none waits for another but on links.
HandTimed program_of(const std::vector<Message>& messages) {
  std::vector<std::int32_t> devices;
  for (const Message& message : messages) devices.insert(devices.end(), {message.from, message.to});
  HandTimed program(static_cast<std::int64_t>(devices.size()), devices);
  for (std::uint32_t i = 0; i < messages.size(); ++i) {
    program.message(
        2 * i, 2 * i + 1,
        over(PathClass::spine, bytes(messages[i].megabytes * 1e6), bytes_per_second(messages[i].cap * 1e9)));
  }
  return program;
}

std::vector<double> ends(const Cluster& cluster, const std::vector<Message>& messages, Fidelity level,
                         PathSeed seed = {}) {
  HandTimed program = program_of(messages);
  const costmodel::OpTimes times = run_on_simgrid(program.timed(), cluster, level, true, true, seed);
  std::vector<double> ends;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    ends.push_back(times.ranks[2 * i + 1].end.front().in(unit::microsecond));
  }
  return ends;
}

double last_end(const Cluster& cluster, const std::vector<Message>& messages, Fidelity level, PathSeed seed = {}) {
  const std::vector<double> all = ends(cluster, messages, level, seed);
  return *std::ranges::max_element(all);
}

::testing::Matcher<double> around(double end) { return DoubleNear(end, kTolerance * end); }

TEST(RoutedContention, TwoThatCrossOneCableOfATorusTakeTwiceAsLong) {
  const Cluster ring = routers(FabricKind::torus, {8});
  for (const Fidelity level : {Fidelity::l2, Fidelity::l3}) {
    EXPECT_THAT(ends(ring, {{0, 2}}, level), ElementsAre(around(100)));
    EXPECT_THAT(ends(ring, {{0, 2}, {1, 3}}, level), ElementsAre(around(200), around(200)));  // from 1 to 2
    EXPECT_THAT(ends(ring, {{0, 2}, {3, 1}}, level), ElementsAre(around(100), around(100)));  // the other way
    EXPECT_THAT(ends(ring, {{0, 2}, {2, 4}}, level), ElementsAre(around(100), around(100)));
    EXPECT_THAT(ends(ring, {{7, 1}, {6, 0}}, level), ElementsAre(around(200), around(200)));  // round the end
  }
  EXPECT_THAT(ends(ring, {{0, 2}, {1, 3}}, Fidelity::l1), ElementsAre(around(100), around(100)));  // no routes
}

TEST(RoutedContention, HalfOfAFlowHalfRoundATorusGoesEitherWay) {
  const Cluster ring = routers(FabricKind::torus, {4});
  // Two cables at once; the other one then has a third of its only cable, and two thirds, until the half is through.
  EXPECT_THAT(ends(ring, {{0, 2, 1, 2 * kLink}}, Fidelity::l2), ElementsAre(around(50)));
  EXPECT_THAT(ends(ring, {{0, 2, 1, 2 * kLink}, {0, 1, 1}}, Fidelity::l2), ElementsAre(around(150), around(150)));
}

TEST(RoutedContention, TwoGroupsOnOneCableOfATorusTakeTwiceAsLong) {
  const Cluster ring = routers(FabricKind::torus, {8});
  const auto time = over(PathClass::spine, bytes(1e6), bytes_per_second(kLink * 1e9));
  for (const Fidelity level : {Fidelity::l2, Fidelity::l3}) {
    for (const auto& [devices, expected] :
         {std::pair(std::vector{0, 2, 4, 6}, 100.0), std::pair(std::vector{0, 2, 1, 3}, 200.0)}) {
      HandTimed program(4, devices);
      program.collective({0, 1}, time);
      program.collective({2, 3}, time);
      const costmodel::OpTimes times = run_on_simgrid(program.timed(), ring, level, true);
      EXPECT_THAT(times.makespan.in(unit::microsecond), around(expected));
    }
  }
}

TEST(RoutedContention, TwoThatCrossOneCableOfADragonflyTakeTwiceAsLong) {
  const Cluster dragonfly = routers(FabricKind::dragonfly, {3, 2});  // nodes 2g and 2g + 1 in group g
  for (const Fidelity level : {Fidelity::l2, Fidelity::l3}) {
    EXPECT_THAT(ends(dragonfly, {{0, 2}}, level), ElementsAre(around(100)));
    EXPECT_THAT(ends(dragonfly, {{0, 2}, {1, 3}}, level), ElementsAre(around(200), around(200)));
    EXPECT_THAT(ends(dragonfly, {{0, 2}, {1, 4}}, level), ElementsAre(around(100), around(100)));
    EXPECT_THAT(ends(dragonfly, {{0, 2}, {3, 1}}, level), ElementsAre(around(100), around(100)));
  }
  Cluster two_cables = dragonfly;
  two_cables.fabric.num_global_links = 2;
  EXPECT_THAT(ends(two_cables, {{0, 2}, {1, 3}}, Fidelity::l2), ElementsAre(around(100), around(100)));
}

TEST(RoutedContention, NodesOfOneRouterMeetBehindIt) {
  const Cluster ring = routers(FabricKind::torus, {4}, 2);  // nodes 2r and 2r + 1 on router r
  EXPECT_THAT(ends(ring, {{0, 2}, {1, 3}}, Fidelity::l2), ElementsAre(around(200), around(200)));
  EXPECT_THAT(ends(ring, {{0, 1}, {2, 3}}, Fidelity::l2), ElementsAre(around(100), around(100)));
}

/// Ways on a torus of 4 x 4, written again: the second dimension runs fastest and the first one is gone first; two
/// steps are gone by half either way.
using Way = std::vector<std::string>;
std::vector<Way> ways_on_torus(std::int32_t from, std::int32_t to) {
  const int row = from / 4, column = from % 4, rows = (to / 4 - row + 4) % 4, columns = (to % 4 - column + 4) % 4;
  const bool divides = rows == 2 || columns == 2;
  std::vector<Way> ways;
  for (int way = 0; way < (divides ? 2 : 1); ++way) {
    Way& links = ways.emplace_back();
    int r = row, c = column;
    const auto go = [&](int steps, int& at, const char* name) {
      const int step = steps == 3 || (steps == 2 && way == 1) ? -1 : 1;
      for (int left = steps == 3 ? 1 : steps; left > 0; --left) {
        links.push_back(name + std::to_string(r) + std::to_string(c) + (step > 0 ? "+" : "-"));
        at = (at + step + 4) % 4;
      }
    };
    go(rows, r, "down");
    go(columns, c, "right");
  }
  return ways;
}

/// Each part of a flow weighs what it has of it.
std::vector<double> solved(const std::vector<Message>& messages,
                           const std::vector<std::vector<Way>>& ways_of_messages) {
  std::map<std::string, std::size_t> numbers;
  std::vector<double> capacities;
  std::vector<FairFlow> flows;
  const auto link = [&](const std::string& name, double gigabytes) {
    const auto [known, is_new] = numbers.try_emplace(name, capacities.size());
    if (is_new) capacities.push_back(gigabytes * 1e3);  // bytes per us
    return known->second;
  };
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [from, to, megabytes, cap] = messages[i];
    const auto number = static_cast<double>(ways_of_messages[i].size());
    for (const Way& way : ways_of_messages[i]) {
      FairFlow& flow =
          flows.emplace_back(FairFlow{.links = {}, .size = megabytes * 1e6 / number, .weight = 1 / number});
      flow.links = {link("cap of " + std::to_string(i), cap), link("out of " + std::to_string(from), kNic),
                    link("into " + std::to_string(to), kNic)};
      for (const std::string& name : way) flow.links.push_back(link(name, name.starts_with("leaf") ? kNic : kLink));
    }
  }
  const std::vector<double> of_flows = fair_ends(capacities, flows);
  std::vector<double> ends;
  std::size_t next = 0;
  for (const std::vector<Way>& ways : ways_of_messages) {
    const auto first = of_flows.begin() + static_cast<std::ptrdiff_t>(next);
    next += ways.size();
    ends.push_back(*std::max_element(first, of_flows.begin() + static_cast<std::ptrdiff_t>(next)));
  }
  return ends;
}

/// The i-th message of a drawn set: between different ones of `num_devices`, of 1 + n `step` MB with n < `num_sizes`.
Message drawn_message(const CounterRng& rng, std::uint64_t i, std::uint64_t num_devices, double step,
                      std::uint64_t num_sizes, double cap) {
  const std::uint64_t from = rng.below(3 * i, num_devices);
  const std::uint64_t to = (from + 1 + rng.below(3 * i + 1, num_devices - 1)) % num_devices;
  return {static_cast<std::int32_t>(from), static_cast<std::int32_t>(to),
          1.0 + step * static_cast<double>(rng.below(3 * i + 2, num_sizes)), cap};
}

TEST(RoutedContention, OfRandomMessagesOnATorusIsMaxMinFair) {
  const Cluster torus = routers(FabricKind::torus, {4, 4});
  int num_held_up = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const CounterRng rng(7, seed);
    std::vector<Message> messages;
    std::vector<std::vector<Way>> ways;
    for (std::uint64_t i = 0; i < 12; ++i) {
      messages.push_back(drawn_message(rng, i, 16, 0.25, 8, 15.0));
      ways.push_back(ways_on_torus(messages.back().from, messages.back().to));
    }
    const std::vector<double> expected = solved(messages, ways);
    for (const Fidelity level : {Fidelity::l2, Fidelity::l3}) {
      SCOPED_TRACE(seed);
      const std::vector<double> simulated = ends(torus, messages, level);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(simulated[i], expected[i], kTolerance * expected[i]) << "message " << i;
        num_held_up += expected[i] > messages[i].megabytes * 1e3 / 15.0 * 1.5 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(num_held_up, 100);
}

/// Who sends to whom, each over its own NIC, from the nodes below one leaf to those below the next.
std::vector<Message> shift(std::int32_t num_nodes, std::int32_t by) {
  std::vector<Message> messages;
  for (std::int32_t node = 0; node < num_nodes; ++node) messages.push_back({node, (node + by) % num_nodes, 1.0, kNic});
  return messages;
}

TEST(RoutedContention, HashedPathsTakeWhatTheirBusiestLinkTakes) {
  const Cluster cluster = tree(16, 4);
  const topology::Topology topology(cluster);
  const std::vector<Message> messages = shift(16, 4);
  topology::Traffic traffic(topology);
  for (const Message& message : messages) {
    EXPECT_TRUE(traffic.send(DeviceIndex(message.from), DeviceIndex(message.to), bytes(1e6)));
  }
  EXPECT_THAT(last_end(cluster, messages, Fidelity::l2), around(40));  // balanced: the NIC
  std::map<long, int> num_seeds;                                       // by flows on the busiest link
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    // Of equal flows those on the busiest link end last: none has more there, and no flow has a busier link.
    const double expected = traffic.loads(seed).time(topology.graph()).in(unit::microsecond);
    ++num_seeds[std::lround(expected / 40)];
    for (const Fidelity level : {Fidelity::l2, Fidelity::l3}) {
      EXPECT_THAT(last_end(cluster, messages, level, seed), DoubleNear(expected, 1e-6 * expected));
    }
  }
  EXPECT_GE(num_seeds.size(), 2U);
}

/// An all-to-all of all devices, 8 kB from each to each, beside its latency. The cost model of these tests puts
/// what a device has for its own node on the network, too.
double exchange(const Cluster& cluster, Fidelity level, PathSeed seed = {}) {
  const std::int64_t size = cluster.num_devices();
  ProgramBuilder builder(1, size, size, size);
  builder.dispatch(0, size, 8000);
  const costmodel::TimedProgram timed =
      time_program(builder.program(), NanosecondPerByte(cluster), cluster, {}, {.all_ranks = true});
  return run_on_simgrid(timed, cluster, level, false, true, seed).makespan.in(unit::microsecond)-5.0;
}

TEST(RoutedContention, OfAnExchangeIsThatOfItsBusiestLink) {
  // Its pairs go at once and by what they have: none is held up by less than the busiest link, nor by more.
  Cluster rails = small_cluster(8, 2);
  Cluster two_dimensions = routers(FabricKind::torus, {4, 4}), dragonfly = routers(FabricKind::dragonfly, {4, 2});
  for (Cluster* cluster : {&rails, &two_dimensions, &dragonfly}) {
    SCOPED_TRACE(cluster->num_nodes());
    std::vector<DeviceIndex> members;
    for (std::int32_t i = 0; i < cluster->num_devices(); ++i) members.emplace_back(i);
    const topology::Topology topology(*cluster);
    const topology::Traffic traffic = topology::all_to_all(topology, members, bytes(8000));
    std::vector<PathSeed> seeds{0, 1, 2, 3};
    if (cluster != &rails) seeds.emplace_back();
    for (const PathSeed seed : seeds) {
      topology::LinkLoads loads = traffic.loads(seed);
      for (std::size_t i = 0; i < loads.of.size(); ++i) {
        if (!topology::is_between_switches(topology.graph().links[i].kind)) loads.of[i] = Bytes::zero();
      }
      const auto all = static_cast<double>(cluster->num_devices());
      const auto of_node = static_cast<double>(cluster->groups[0].devices_per_node);
      const double expected = loads.time(topology.graph()).in(unit::microsecond) * (all - 1) / (all - of_node);
      EXPECT_NEAR(exchange(*cluster, Fidelity::l2, seed), expected, 1e-3 * expected);
      EXPECT_NEAR(exchange(*cluster, Fidelity::l3, seed), expected, 1e-3 * expected);
    }
  }
}

TEST(RoutedContention, OfHashedMessagesIsMaxMinFair) {
  Cluster cluster = tree(12, 3);
  cluster.groups[0].nics->rails = 1;
  const topology::Topology topology(cluster);
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const CounterRng rng(11, seed);
    std::vector<Message> messages;
    std::vector<std::vector<Way>> ways;
    for (std::uint64_t i = 0; i < 14; ++i) {
      messages.push_back(drawn_message(rng, i, 12, 1.0, 3, kNic));
      const std::int32_t from = messages.back().from, to = messages.back().to;
      // One spine of three, the same up and down.
      const topology::Topology::NicFlow flow{.from = static_cast<std::size_t>(from),
                                             .to = static_cast<std::size_t>(to)};
      Way way;
      topology.route_nics(flow, topology.drawn(seed, flow), [&](topology::LinkIndex link, double) {
        const topology::LinkGraph& graph = topology.graph();
        if (graph[link].kind != topology::LinkKind::uplink) return;
        const bool is_up = graph[graph[link].from].kind == topology::PlaceKind::leaf;
        const std::int32_t leaf = (is_up ? from : to) / 3;
        const std::string& spine = graph[is_up ? graph[link].to : graph[link].from].name;
        way.push_back("leaf" + std::to_string(leaf) + (is_up ? " to " : " from ") + spine);
      });
      EXPECT_EQ(way.size(), from / 3 == to / 3 ? 0U : 2U);
      ways.push_back({way});
    }
    const std::vector<double> expected = solved(messages, ways),
                              simulated = ends(cluster, messages, Fidelity::l2, seed);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(simulated[i], expected[i], kTolerance * expected[i]) << "seed " << seed << ", message " << i;
    }
  }
}

TEST(RoutedContention, WithoutEqualPathsAHashChangesNothing) {
  Cluster cluster = tree(8, 4);
  cluster.fabric.num_spines = 1;
  for (const Message& message : shift(8, 4)) {
    const std::vector<double> hashed = ends(cluster, {message}, Fidelity::l2, 3),
                              balanced = ends(cluster, {message}, Fidelity::l2);
    // A flow over a route has other links, so that its rate may round otherwise: by 1.3e-15 where it was seen.
    EXPECT_THAT(hashed, Pointwise(DoubleNear(1e-14 * balanced.front()), balanced));
  }
}

StepDates dates_of(const costmodel::TimedProgram& timed, const Cluster& cluster, PathSeed seed = {}) {
  const SimulatedJob job{&timed, Fidelity::l2};
  return run_jobs({&job, 1}, cluster, true, true, seed).dates;
}

TEST(RoutedContention, ShowsInTheUseOfLinks) {
  const Cluster ring = routers(FabricKind::torus, {8});
  HandTimed program = program_of({{0, 2}, {1, 3}});
  const Trace trace = simulate(program.timed(), ring, {}, Fidelity::l2);
  EXPECT_THAT(trace.header.notes,
              Contains(HasSubstr("2 communications take routes over the links between routers, balanced")));
  const UseOfLinks use = use_of_links(program.timed(), ring, Fidelity::l2, dates_of(program.timed(), ring));
  EXPECT_THAT(use.links.front(),
              AllOf(Field(&LinkUse::name, "router1 -> router2"), Field(&LinkUse::link_class, "router"),
                    Field(&LinkUse::mean, DoubleNear(1.0, 1e-6)), Field(&LinkUse::size, bytes(2e6))));
  const auto is_class = [](const char* name) { return Field(&UseOfLinks::Class::name, name); };
  EXPECT_THAT(use.classes, ElementsAre(is_class("NIC"), is_class("uplink"), is_class("router")));

  Cluster planes = tree(8, 4);
  planes.fabric.planes = 2;
  HandTimed hashed = program_of(shift(8, 4));
  const Trace of_seed = simulate(hashed.timed(), planes, {}, Fidelity::l2, {}, 1);
  EXPECT_THAT(of_seed.header.notes, Contains(HasSubstr("of leaves and spines, drawn with seed 1 among equal ones")));
  const UseOfLinks of_planes =
      use_of_links(hashed.timed(), planes, Fidelity::l2, dates_of(hashed.timed(), planes, 1), 1);
  EXPECT_THAT(of_planes.classes,
              ElementsAre(is_class("NIC"), is_class("uplink, plane 0"), is_class("uplink, plane 1")));
  EXPECT_THAT(simulate(program.timed(), ring, {}, Fidelity::l1).header.notes,
              Contains(HasSubstr("do not compete on links between routers")));
}

}  // namespace
}  // namespace orrery::sim
