// SPDX-License-Identifier: Apache-2.0
// Flows that compete, through SimGrid, against an independent solver (max_min.h) on the cases of contenders.h. Where an
// answer is easy by hand it is stated, too: then three agree.
#include "base/rng.h"
#include "sim/engine.h"
#include "sim/simgrid_kernel.h"
#include "tests/unit/sim/contenders.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using costmodel::PathClass;
using namespace orrery::testing;

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

/// The same in programs: what the engine makes of ops, against the solver on the flows that are meant.
struct Program {
  Cluster cluster = small_cluster(6, 3);
  Seconds simulated(HandTimed& program, Fidelity fidelity = Fidelity::l1) const {
    return run_on_simgrid(program.timed(), cluster, fidelity, false).makespan;
  }
};

constexpr double kNodeNic = 75e3;  // bytes per us of three NICs

TEST(Contention, OfAStepCanGrowWhenALinkGetsFaster) {
  // The flows of "into one NIC" of kCases, and the receiver of the third has 100 us of work when it has come.
  const auto step = [](double oversubscription, Fidelity fidelity) {
    HandTimed program(6, {0, 3, 15, 12, 13, 14});
    program.message(0, 3, over(kSpine, bytes(1.5e6), bytes_per_second(75e9)));
    program.message(1, 4, over(kSpine, bytes(1.5e6), bytes_per_second(75e9)));
    const auto third = program.message(2, 5, over(kRail, bytes(1.5e6), bytes_per_second(75e9)));
    program.compute(5, microseconds(100), {third.second});
    Program run;
    run.cluster.fabric.oversubscription = oversubscription;
    run.cluster.groups[0].nics->per_node = run.cluster.groups[0].nics->rails = 1;  // that all devices of a node share
    run.cluster.groups[0].nics->each = bytes_per_second(75e9);
    return run.simulated(program, fidelity).in(unit::microsecond);
  };
  for (const Fidelity fidelity : {Fidelity::l1, Fidelity::l2, Fidelity::l3}) {
    EXPECT_NEAR(step(4.0, fidelity), 140.0, 1e-6);
    EXPECT_NEAR(step(1.0, fidelity), 160.0, 1e-6);
  }
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
