// SPDX-License-Identifier: Apache-2.0
// Flows that compete, through SimGrid, against an independent solver (max_min.h) on links that are named here again.
// Where an answer is easy by hand it is stated, too: then three agree.
#include "base/rng.h"
#include "sim/engine.h"
#include "sim/simgrid_kernel.h"
#include "tests/unit/sim/hand_timed.h"
#include "tests/unit/sim/max_min.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::PathClass;
using orrery::testing::fair_ends;
using orrery::testing::FairFlow;
using orrery::testing::HandTimed;
using orrery::testing::over;
using orrery::testing::small_cluster;

constexpr PathClass kNode = PathClass::node, kRail = PathClass::rail, kSpine = PathClass::spine;
constexpr double kFast = 1e6;  // GB/s: a cap that never binds

struct Contender {
  std::string from, to;  // "2": node 2; "2.1": its device 1
  PathClass path = kRail;
  double megabytes = 1.0;
  double cap = kFast;  // GB/s
  double start = 0.0;  // us
  double weight = 1.0;
};

struct Case {
  std::string name;
  std::vector<Contender> flows;
  std::vector<double> ends = {};  // us, by hand; empty: the solver's word alone
  /// Nodes of two devices: scale-up 100 GB/s and a NIC of 25 GB/s each; leaves of two nodes.
  double oversubscription = 1.0;
  int nics = 2;
  double nic = 25.0;  // GB/s, each
};

std::int64_t node_of(const std::string& site) { return std::stoll(site); }
bool is_device(const std::string& site) { return site.find('.') != std::string::npos; }
std::int64_t device_of(const std::string& site) { return std::stoll(site.substr(site.find('.') + 1)); }

/// The links of one end of a flow and their capacities in bytes per us, in the words of this test.
std::map<std::string, double> links_of(const Case& c, const std::string& site, PathClass path, bool out) {
  const std::string node = site.substr(0, site.find('.')), end = out ? " out" : " in";
  std::map<std::string, double> links;
  if (path == kNode) {
    links["scale-up of all of " + node + end] = 200e3;
    if (is_device(site)) links["scale-up of " + site + end] = 100e3;
    return links;
  }
  links["NICs of " + node + end] = c.nics * c.nic * 1e3;
  if (is_device(site)) links["NIC of " + node + (c.nics == 1 ? "" : site) + end] = c.nic * 1e3;
  if (path == kSpine) {
    links["leaf " + std::to_string(node_of(site) / 2) + end] = 2 * c.nics * c.nic * 1e3 / c.oversubscription;
  }
  return links;
}

std::vector<double> solved(const Case& c) {
  std::map<std::string, std::size_t> numbers;
  std::vector<double> capacities;
  std::vector<FairFlow> flows;
  for (const Contender& contender : c.flows) {
    FairFlow& flow = flows.emplace_back(
        FairFlow{.size = contender.megabytes * 1e6, .start = contender.start, .weight = contender.weight});
    flow.links.push_back(capacities.size());
    capacities.push_back(contender.cap * 1e3);
    auto links = links_of(c, contender.from, contender.path, true);
    links.merge(links_of(c, contender.to, contender.path, false));
    for (const auto& [name, capacity] : links) {
      const auto [link, is_new] = numbers.try_emplace(name, capacities.size());
      if (is_new) capacities.push_back(capacity);
      flow.links.push_back(link->second);
    }
  }
  return fair_ends(capacities, flows);
}

/// Starts each flow at its date and notes when it ends.
class Runner : public EventHandler {
 public:
  explicit Runner(const Case& c, Seconds step = microseconds(100))
      : case_(c), network_(network(c)), kernel_(network_, step), ends_(c.flows.size()) {}

  std::vector<double> run() {
    for (std::uint32_t i = 0; i < case_.flows.size(); ++i) {
      kernel_.set_timer(case_.flows[i].start * unit::microsecond, {.kind = 0, .index = i});
    }
    kernel_.run(*this);
    return ends_;
  }

  void on_event(KernelEvent event) override {
    const Contender& flow = case_.flows[event.index];
    if (event.kind == 1) {
      ends_[event.index] = kernel_.now().in(unit::microsecond);
      return;
    }
    const Part parts[] = {
        {.path = flow.path, .to = sites_.at(flow.to), .size = bytes(std::round(flow.megabytes * 1e6))}};
    kernel_.start({.from = sites_.at(flow.from), .cap = bytes_per_second(flow.cap * 1e9), .weight = flow.weight}, parts,
                  {1, event.index});
  }

 private:
  Network network(const Case& c) {
    Cluster cluster = small_cluster(6, 2);
    cluster.fabric.oversubscription = c.oversubscription;
    cluster.groups[0].nics->per_node = c.nics;
    cluster.groups[0].nics->each = bytes_per_second(c.nic * 1e9);
    std::vector<Site> sites;
    const auto add = [&](const std::string& name) {
      if (!sites_.try_emplace(name, static_cast<SiteIndex>(sites.size())).second) return;
      Site& site =
          sites.emplace_back(Site{.node = node_of(name), .num_lanes = static_cast<std::int64_t>(c.flows.size())});
      if (is_device(name)) site.device = device_of(name);
    };
    for (const Contender& flow : c.flows) {
      add(flow.from);
      add(flow.to);
    }
    return {cluster, sites, {true, true, true}};
  }

  const Case& case_;
  std::map<std::string, SiteIndex> sites_;
  Network network_;
  SimGridKernel kernel_;
  std::vector<double> ends_;
};

const std::vector<Case> kCases = {
    {.name = "alone", .flows = {{"0", "1"}}, .ends = {20}},
    {.name = "alone at its cap", .flows = {{"0", "1", kRail, 1, 10}}, .ends = {100}},
    {.name = "two out of one NIC", .flows = {{"0", "1"}, {"0", "2"}}, .ends = {40, 40}},
    {.name = "two into one NIC", .flows = {{"0", "2"}, {"1", "2"}}, .ends = {40, 40}},
    {.name = "both ways at once", .flows = {{"0", "1"}, {"1", "0"}}, .ends = {20, 20}},
    {.name = "short and long on one NIC", .flows = {{"0", "1", kRail, 1}, {"0", "2", kRail, 3}}, .ends = {40, 80}},
    {.name = "late joiner",  // 10 us alone, then half of the NIC each
     .flows = {{"0", "1", kRail, 1}, {.from = "0", .to = "2", .start = 10}},
     .ends = {30, 40}},
    {.name = "three of whom one comes late and leaves first",
     .flows = {{"0", "1"}, {"0", "2"}, {.from = "0", .to = "3", .megabytes = 0.5, .start = 10}},
     .ends = {50, 50, 40}},
    {.name = "joiner after the end", .flows = {{"0", "1"}, {.from = "0", .to = "1", .start = 25}}, .ends = {20, 45}},
    {.name = "a cap leaves the rest to the other",
     .flows = {{"0", "1", kRail, 1, 10}, {"0", "2", kRail, 2}},
     .ends = {100, 50}},
    {.name = "caps that do not fill the NIC",
     .flows = {{"0", "1", kRail, 1, 10}, {"0", "2", kRail, 1, 20}},
     .ends = {100, 50}},
    {.name = "different caps above the share",
     .flows = {{"0", "1", kRail, 1, 30}, {"0", "2", kRail, 1, 40}},
     .ends = {40, 40}},
    {.name = "hot receiver of five",
     .flows = {{"1", "0"}, {"2", "0"}, {"3", "0"}, {"4", "0"}, {"5", "0"}},
     .ends = {100, 100, 100, 100, 100}},
    {.name = "hot receiver of different sizes",
     .flows = {{"1", "0", kRail, 1}, {"2", "0", kRail, 2}, {"3", "0", kRail, 3}},
     .ends = {60, 100, 120}},
    {.name = "chain through three NICs",  // the one over both busy ends gets a third where it meets two
     .flows = {{"0", "2"}, {"1", "2"}, {"1", "3"}, {"3", "2"}}},
    {.name = "parking lot", .flows = {{"0", "1"}, {"0", "1"}, {"0", "2"}, {"3", "2"}}},
    {.name = "two rings crossing", .flows = {{"0", "1"}, {"1", "2"}, {"2", "0"}, {"0", "2"}, {"2", "4"}, {"4", "0"}}},
    {.name = "a ring and a message of another",
     .flows = {{"0", "1", kRail, 2}, {"1", "2", kRail, 2}, {"2", "0", kRail, 2}, {"1", "4", kSpine, 1}}},
    {.name = "scale-up and NIC do not meet", .flows = {{"0", "1"}, {"0", "0", kNode, 4}}, .ends = {20, 20}},
    {.name = "two groups share the scale-up of a node",
     .flows = {{"0", "0", kNode, 2}, {"0", "0", kNode, 2}},
     .ends = {20, 20}},
    {.name = "rail and spine over one NIC", .flows = {{"0", "1", kRail}, {"0", "2", kSpine}}, .ends = {40, 40}},
    {.name = "oversubscribed leaf, all send",
     .flows = {{"0", "2", kSpine}, {"1", "3", kSpine}},
     .ends = {40, 40},
     .oversubscription = 2.0},
    {.name = "oversubscribed leaf, one sends alone",
     .flows = {{"0", "2", kSpine}},
     .ends = {20},
     .oversubscription = 2.0},
    {.name = "oversubscribed leaf, what stays below is not held up",
     .flows = {{"0", "2", kSpine}, {"1", "3", kSpine}, {"1", "0", kRail}},
     .ends = {40, 40, 40},
     .oversubscription = 2.0},
    {.name = "oversubscribed leaf of the receivers",
     .flows = {{"0", "4", kSpine}, {"2", "5", kSpine}, {"1", "4", kSpine}},
     .oversubscription = 3.0},
    {.name = "uplinks and a hot receiver behind them",
     .flows = {{"0", "2", kSpine}, {"1", "2", kSpine}, {"4", "2", kSpine}, {"4", "3", kSpine}},
     .oversubscription = 1.5},
    {.name = "devices with NICs of their own", .flows = {{"0.0", "1.0"}, {"0.1", "1.1"}}, .ends = {40, 40}},
    {.name = "a device's two messages share its NIC, the neighbour's does not",
     .flows = {{"0.0", "1.0"}, {"0.0", "2.0"}, {"0.1", "1.1"}},
     .ends = {80, 80, 40}},
    {.name = "devices that share a NIC", .flows = {{"0.0", "1.0"}, {"0.1", "2.0"}}, .ends = {80, 80}, .nics = 1},
    {.name = "devices and their whole node on one NIC",
     .flows = {{"0.0", "1.0"}, {"0.1", "1.1"}, {"0", "2", kRail, 2}}},
    {.name = "scale-up ports of devices",
     .flows = {{"0.0", "0.1", kNode, 1}, {"0.1", "0.0", kNode, 1}, {"0.0", "0.1", kNode, 1}},
     .ends = {20, 10, 20}},
    {.name = "one that weighs three beside one",  // 37.5 GB/s and 12.5, then all
     .flows = {{.from = "0", .to = "1", .weight = 3.0}, {"0", "2"}},
     .ends = {80.0 / 3, 40}},
    {.name = "one that weighs three and is held to its cap",
     .flows = {{.from = "0", .to = "1", .cap = 20, .weight = 3.0}, {"0", "2", kRail, 3}},
     .ends = {50, 80}},
    {.name = "weights that meet at a receiver and on uplinks",
     .flows = {{.from = "0", .to = "2", .path = kSpine, .megabytes = 3, .weight = 7.0},
               {.from = "1", .to = "2", .path = kSpine, .weight = 5.0},
               {.from = "3", .to = "2", .megabytes = 2, .start = 15, .weight = 8.0},
               {.from = "0", .to = "1", .megabytes = 2, .weight = 0.5}},
     .oversubscription = 1.5},
    {.name = "everything at once",
     .flows = {{"0", "1", kRail, 1.7, 21},
               {"1", "3", kSpine, 2.3},
               {"0.0", "2.1", kSpine, 0.4, kFast, 3},
               {"0.1", "0.0", kNode, 5.1},
               {"4", "0", kSpine, 3.3, 35, 11},
               {"5", "1", kSpine, 0.9, kFast, 30},
               {"2", "0", kSpine, 1.1, kFast, 12},
               {"0", "4", kSpine, 2.9, kFast, 40}},
     .oversubscription = 2.5},
};

/// A flow in so many equal parts that are as heavy together.
std::vector<Contender> in_parts(const Contender& flow, std::size_t number) {
  Contender part = flow;
  part.megabytes /= static_cast<double>(number);
  part.cap /= static_cast<double>(number);
  part.weight /= static_cast<double>(number);
  return std::vector(number, part);
}

TEST(Contention, IsTheSameForAWeightAndForAsManyFlows) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const CounterRng rng(seed, 23);
    std::uint64_t num_drawn = 0;
    const auto below = [&](std::uint64_t n) { return rng.below(num_drawn++, n); };
    Case weighted{.name = "seed " + std::to_string(seed), .flows = {}, .oversubscription = 2.5}, apart = weighted;
    std::vector<std::size_t> first;
    for (int i = 0; i < 12; ++i) {
      const std::size_t members = 1 + below(8);
      const PathClass path = below(2) == 0 ? kRail : kSpine;
      const Contender flow{.from = std::to_string(below(6)),
                           .to = std::to_string(below(6)),
                           .path = path,
                           .megabytes = static_cast<double>(840 * members * (1 + below(900))) * 1e-6,
                           .cap = static_cast<double>(members * (1 + below(12))),
                           .start = static_cast<double>(below(40)),
                           .weight = static_cast<double>(members)};
      first.push_back(apart.flows.size());
      weighted.flows.push_back(flow);
      for (const Contender& part : in_parts(flow, members)) apart.flows.push_back(part);
    }
    SCOPED_TRACE(weighted.name);
    const std::vector<double> together = Runner(weighted, milliseconds(10)).run();
    const std::vector<double> single = Runner(apart, milliseconds(10)).run();
    for (std::size_t i = 0; i < first.size(); ++i) EXPECT_NEAR(together[i], single[first[i]], 1e-6 * together[i]);
  }
}

TEST(Contention, HasTheEndsOfMaxMinFairness) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    const std::vector<double> simulated = Runner(c).run(), expected = solved(c);
    ASSERT_EQ(simulated.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(simulated[i], expected[i], 1e-6 * expected[i]) << "flow " << i;
      if (c.ends.empty()) continue;
      EXPECT_NEAR(simulated[i], c.ends.at(i), 1e-6 * c.ends[i]) << "flow " << i;
    }
  }
  EXPECT_GE(kCases.size(), 30);
}

/// Two flows come over the uplinks of leaf 0 into a NIC that a third one of the same leaf uses.
Case into_one_nic(double oversubscription) {
  return {.name = "into one NIC",
          .flows = {{"0", "4", kSpine}, {"1", "4", kSpine}, {"5", "4", kRail}},
          .oversubscription = oversubscription};
}

TEST(Contention, CanGrowWhenALinkGetsFaster) {
  // Uplinks of 25 GB/s let each of the two have 12.5 GB/s and the third 25; without that limit all have 50 / 3.
  EXPECT_NEAR(Runner(into_one_nic(4.0)).run().back(), 40.0, 1e-6);
  EXPECT_NEAR(Runner(into_one_nic(1.0)).run().back(), 60.0, 1e-6);
}

/// The same in programs: what the engine makes of ops, against the solver on the flows that are meant.
struct Program {
  Cluster cluster = small_cluster(6, 3);
  Seconds simulated(HandTimed& program) const {
    return run_on_simgrid(program.timed(), cluster, Fidelity::l1, false).makespan;
  }
};

constexpr double kNodeNic = 75e3;  // bytes per us of three NICs

TEST(Contention, OfAStepCanGrowWhenALinkGetsFaster) {
  // As above, and the receiver of the third message has 100 us of work when it has come.
  const auto step = [](double oversubscription) {
    HandTimed program(6, {0, 3, 15, 12, 13, 14});
    program.message(0, 3, over(kSpine, bytes(1.5e6), bytes_per_second(75e9)));
    program.message(1, 4, over(kSpine, bytes(1.5e6), bytes_per_second(75e9)));
    const auto third = program.message(2, 5, over(kRail, bytes(1.5e6), bytes_per_second(75e9)));
    program.compute(5, microseconds(100), {third.second});
    Program run;
    run.cluster.fabric.oversubscription = oversubscription;
    return run.simulated(program).in(unit::microsecond);
  };
  EXPECT_NEAR(step(4.0), 140.0, 1e-6);
  EXPECT_NEAR(step(1.0), 160.0, 1e-6);
}

TEST(Contention, OfTwoRingsThatCross) {
  // Device 0 of nodes 0, 1, 2 and device 1 of nodes 0, 2, 4; each ring could have two thirds of a node's NICs.
  HandTimed program(6, {0, 3, 6, 1, 7, 13});
  program.collective({0, 1, 2}, over(kSpine, bytes(1e6), bytes_per_second(50e9)));
  program.collective({3, 4, 5}, over(kSpine, bytes(2e6), bytes_per_second(50e9)), {}, Queue::ep);
  // Links: caps of the six, then out and in of nodes 0, 1, 2, 4.
  std::vector<double> capacities(6, 50e3);
  capacities.resize(14, kNodeNic);
  const std::vector<FairFlow> flows = {{{0, 6, 9}, 1e6},  {{1, 8, 11}, 1e6},  {{2, 10, 7}, 1e6},
                                       {{3, 6, 11}, 2e6}, {{4, 10, 13}, 2e6}, {{5, 12, 7}, 2e6}};
  const std::vector<double> ends = fair_ends(capacities, flows);
  EXPECT_NEAR(Program{}.simulated(program).in(unit::microsecond), *std::max_element(ends.begin(), ends.end()), 1e-6);
}

TEST(Contention, OfALateRingInAnExchange) {
  HandTimed program(6, {0, 3, 6, 1, 4, 7});
  std::vector<std::vector<OpIndex>> after;
  for (const std::uint32_t rank : {3U, 4U, 5U}) after.push_back({program.compute(rank, microseconds(7))});
  program.collective({0, 1, 2}, over(kRail, bytes(2e6), bytes_per_second(50e9), microseconds(1)));
  program.collective({3, 4, 5}, over(kRail, bytes(1e6), bytes_per_second(50e9), microseconds(2)), after, Queue::ep);
  // All nodes do the same: one out link, flows from 1 us and from 9 us on.
  const std::vector<double> ends = fair_ends({50e3, 50e3, kNodeNic}, {{{0, 2}, 2e6, 1.0}, {{1, 2}, 1e6, 9.0}});
  const costmodel::OpTimes times = run_on_simgrid(program.timed(), Program{}.cluster, Fidelity::l1, true);
  EXPECT_NEAR(times.ranks[0].end[0].in(unit::microsecond), ends[0], 1e-6);
  EXPECT_NEAR(times.ranks[3].end[1].in(unit::microsecond), ends[1], 1e-6);
}

}  // namespace
}  // namespace orrery::sim
