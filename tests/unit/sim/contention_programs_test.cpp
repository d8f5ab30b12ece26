// SPDX-License-Identifier: Apache-2.0
// The cases of contention as programs: what ops, queues and levels make of flows must end when max-min fairness says.
// At L1 and L2 a message is from node to node, at L3 from device to device, behind the links of the devices.
#include "sim/engine.h"
#include "tests/unit/sim/contenders.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

using namespace orrery::testing;

constexpr double kTolerance = 0.01;
constexpr Fidelity kLevels[] = {Fidelity::l1, Fidelity::l2, Fidelity::l3};

Cluster cluster_of(const Case& c) {
  Cluster cluster = small_cluster(6, 2);
  cluster.fabric.oversubscription = c.oversubscription;
  if (c.pod_leaves > 0) cluster.fabric.pods = Pods{.leaves = c.pod_leaves, .oversubscription = c.pod_oversubscription};
  cluster.groups[0].nics->per_node = c.nics;
  cluster.groups[0].nics->each = bytes_per_second(c.nic * 1e9);
  return cluster;
}

std::string node_name(const std::string& site) { return site.substr(0, site.find('.')); }

/// The case as the level can show it; nothing if it cannot.
std::optional<Case> at_level(Case c, Fidelity level) {
  c.ends.clear();
  for (Contender& flow : c.flows) {
    if (flow.weight != std::floor(flow.weight)) return {};  // no number of members
    if (level != Fidelity::l3) {
      flow.from = node_name(flow.from);
      flow.to = node_name(flow.to);
      continue;
    }
    if (flow.weight != 1.0) return {};  // a device weighs one
    if (!is_device(flow.from)) flow.from += ".0";
    if (!is_device(flow.to)) flow.to += flow.path == kNode ? ".1" : ".0";
    if (flow.path != kNode) flow.path = node_of(flow.from) / 2 == node_of(flow.to) / 2 ? kRail : kSpine;
  }
  return c;
}

std::int32_t device_index(const std::string& site) {
  return static_cast<std::int32_t>(2 * node_of(site) + (is_device(site) ? device_of(site) : 0));
}

/// Two ranks for each flow, so that none waits for another but on links.
std::vector<double> simulated(const Case& c, Fidelity level) {
  std::vector<std::int32_t> devices;
  for (const Contender& flow : c.flows) {
    devices.push_back(device_index(flow.from));
    devices.push_back(device_index(flow.to));
  }
  const auto num_ranks = static_cast<std::uint32_t>(devices.size());
  devices.push_back(0);
  HandTimed program(num_ranks + 1, devices);
  // About as long as the flows: SimGrid's clock counts in parts of what the ops take alone, and goes on from test to
  // test.
  program.compute(num_ranks, microseconds(200));
  std::vector<OpIndex> last;
  for (std::uint32_t rank = 0; rank < num_ranks; rank += 2) {
    const Contender& flow = c.flows[rank / 2];
    program.rank(rank).represents_on_node = static_cast<std::int64_t>(flow.weight);
    std::vector<OpIndex> after;
    if (flow.start > 0.0) after.push_back(program.compute(rank, flow.start * unit::microsecond));
    const auto time = over(flow.path, bytes(std::round(flow.megabytes * 1e6) / flow.weight),
                           bytes_per_second(flow.cap / flow.weight * 1e9));
    last.push_back(program.message(rank, rank + 1, time, after).second);
  }
  costmodel::TimedProgram timed = program.timed();
  timed.disturbances.links = c.faults;
  const costmodel::OpTimes times = run_on_simgrid(timed, cluster_of(c), level, true);
  std::vector<double> ends;
  for (std::uint32_t i = 0; i < last.size(); ++i) {
    ends.push_back(times.ranks[2 * i + 1].end[last[i]].in(unit::microsecond));
  }
  return ends;
}

int expect_fair(const std::vector<Case>& cases) {
  int num_shown = 0;
  for (const Case& of_flows : cases) {
    for (const Fidelity level : kLevels) {
      SCOPED_TRACE(of_flows.name + " at " + std::string(name_of(kFidelityNames, level)));
      const std::optional<Case> c = at_level(of_flows, level);
      if (!c) continue;
      if (level == Fidelity::l3) ++num_shown;
      const std::vector<double> ends = simulated(*c, level), expected = solved(*c);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(ends[i], expected[i], kTolerance * expected[i]) << "flow " << i;
      }
    }
  }
  return num_shown;
}

TEST(ContentionOfPrograms, IsMaxMinFairAtEachLevel) { EXPECT_GE(expect_fair(kCases), 30); }

LinkFault fault(LinkClass link, std::int64_t node, double left, double from, std::optional<double> until = {}) {
  LinkFault made{.link = link, .node = node, .left = left, .when = {.from = from * unit::microsecond, .until = {}}};
  if (until) made.when.until = *until * unit::microsecond;
  return made;
}

TEST(ContentionOfPrograms, IsMaxMinFairWhileLinksFail) {
  const std::vector<Case> cases = {
      {.name = "NIC that gets slow below two flows",
       .flows = {{"0", "1", kRail, 1}, {"0", "2", kSpine, 2}},
       .faults = {fault(LinkClass::nic, 0, 0.4, 10)}},
      {.name = "NIC of a hot receiver that is down for a time",
       .flows = {{"0", "1", kRail, 1}, {"2", "1", kSpine, 2}, {.from = "3", .to = "1", .path = kSpine, .start = 30}},
       .faults = {fault(LinkClass::nic, 1, 0, 15, 40)}},
      {.name = "uplink that fails below one of two flows",
       .flows = {{"0", "2", kSpine, 1}, {"0", "1", kRail, 2}, {"1", "3", kSpine, 1.5}},
       .oversubscription = 2.0,
       .faults = {fault(LinkClass::uplink, 0, 0, 5, 25), fault(LinkClass::uplink, 2, 0.3, 40)}},
      {.name = "scale-up port that is slow",
       .flows = {{"0", "0", kNode, 4}, {"0", "0", kNode, 2}, {"0", "1", kRail, 1}},
       .faults = {fault(LinkClass::scale_up, 0, 0.25, 8, 60)}}};
  EXPECT_EQ(expect_fair(cases), 4);
}

TEST(ContentionOfPrograms, IsMaxMinFairAboveTheSpinesOfPods) {
  const std::vector<Case> cases = {
      {.name = "two out of a pod, one within it",  // 25 GB/s out of a pod of one leaf, whose uplinks are 100
       .flows = {{"0", "2", kSpine}, {"1", "4", kSpine}, {"1", "0", kRail}},
       .pod_leaves = 1,
       .pod_oversubscription = 4.0},
      {.name = "hot pod",
       .flows = {{"0", "4", kSpine}, {"2", "5", kSpine, 2}, {.from = "3", .to = "4", .path = kSpine, .start = 20}},
       .pod_leaves = 2,
       .pod_oversubscription = 8.0},
      {.name = "leaves of one pod do not meet above their spines",
       .flows = {{"0", "2", kSpine, 2}, {"1", "3", kSpine}, {"2", "0", kSpine}},
       .pod_leaves = 2,
       .pod_oversubscription = 16.0},
      {.name = "narrow leaves below narrow pods",
       .flows =
           {{"0", "3", kSpine}, {"1", "3", kSpine, 2}, {"2", "5", kSpine, 1.5}, {"4", "2", kSpine}, {"0", "5", kSpine}},
       .oversubscription = 2.0,
       .pod_leaves = 2,
       .pod_oversubscription = 3.0}};
  EXPECT_EQ(expect_fair(cases), 4);
  // By hand: the first two share 25 GB/s.
  const std::vector<double> ends = solved(cases.front());
  EXPECT_NEAR(ends[0], 80.0, 1e-9);
  EXPECT_NEAR(ends[1], 80.0, 1e-9);
}

/// A ring through devices, each of which sends to the next one.
struct Ring {
  std::vector<std::string> devices;
  double megabytes = 1.0, cap = 25.0, start = 0.0;
};

/// The pairs of rings, as flows; those of one ring end together.
std::vector<double> solved_rings(Case c, const std::vector<Ring>& rings) {
  for (const Ring& ring : rings) {
    for (std::size_t i = 0; i < ring.devices.size(); ++i) {
      const std::string &from = ring.devices[i], &to = ring.devices[(i + 1) % ring.devices.size()];
      const PathClass path = node_of(from) / 2 == node_of(to) / 2 ? kRail : kSpine;
      c.flows.push_back({from, to, path, ring.megabytes, ring.cap, ring.start});
    }
  }
  std::vector<double> ends, of_flows = solved(c);
  std::size_t next = 0;
  for (const Ring& ring : rings) {
    const auto first = of_flows.begin() + static_cast<std::ptrdiff_t>(next);
    next += ring.devices.size();
    ends.push_back(*std::max_element(first, of_flows.begin() + static_cast<std::ptrdiff_t>(next)));
  }
  return ends;
}

std::vector<double> simulated_rings(const Case& c, const std::vector<Ring>& rings, Fidelity level) {
  std::vector<std::int32_t> devices;
  for (const Ring& ring : rings) {
    for (const std::string& device : ring.devices) devices.push_back(device_index(device));
  }
  HandTimed program(static_cast<std::int64_t>(devices.size()), devices);
  std::uint32_t first = 0;
  std::vector<OpIndex> last;
  for (const Ring& ring : rings) {
    const auto number = static_cast<std::uint32_t>(ring.devices.size());
    std::vector<std::uint32_t> ranks;
    std::vector<std::vector<OpIndex>> after;
    for (std::uint32_t rank = first; rank < first + number; ++rank) {
      ranks.push_back(rank);
      after.emplace_back();
      if (ring.start > 0.0) after.back().push_back(program.compute(rank, ring.start * unit::microsecond));
    }
    first += number;
    const auto time = over(kSpine, bytes(ring.megabytes * 1e6), bytes_per_second(ring.cap * 1e9));
    last.push_back(program.collective(ranks, time, after).front());
  }
  costmodel::TimedProgram timed = program.timed();
  timed.disturbances.links = c.faults;
  const costmodel::OpTimes times = run_on_simgrid(timed, cluster_of(c), level, true);
  std::vector<double> ends;
  first = 0;
  for (std::size_t i = 0; i < rings.size(); ++i) {
    ends.push_back(times.ranks[first].end[last[i]].in(unit::microsecond));
    first += static_cast<std::uint32_t>(rings[i].devices.size());
  }
  return ends;
}

TEST(ContentionOfPrograms, OfRingsIsMaxMinFairAtEachLevel) {
  const Ring wide{.devices = {"0.0", "1.0", "2.0", "3.0"}}, crossing{.devices = {"0.1", "2.1", "4.1"}, .megabytes = 2};
  Ring beside{.devices = {"0.1", "1.1", "2.1", "3.1"}, .megabytes = 1.5};
  Ring late = beside;
  late.start = 15;
  const struct {
    Case c;
    std::vector<Ring> rings;
  } cases[] = {
      {{.name = "alone", .flows = {}}, {wide}},
      {{.name = "two that cross over one NIC a node", .flows = {}, .nics = 1, .nic = 30}, {wide, crossing}},
      {{.name = "a late one", .flows = {}, .nics = 1}, {wide, late}},
      {{.name = "two below oversubscribed leaves", .flows = {}, .oversubscription = 8.0}, {wide, beside}},
      {{.name = "two between pods of a leaf", .flows = {}, .pod_leaves = 1, .pod_oversubscription = 8.0},
       {wide, beside}},
      {{.name = "below a NIC that gets slow",
        .flows = {},
        .nics = 1,
        .faults = {fault(LinkClass::nic, 1, 0.4, 10, 70)}},
       {wide, beside}},
  };
  for (const auto& [c, rings] : cases) {
    const std::vector<double> expected = solved_rings(c, rings);
    for (const Fidelity level : kLevels) {
      SCOPED_TRACE(c.name + " at " + std::string(name_of(kFidelityNames, level)));
      const std::vector<double> ends = simulated_rings(c, rings, level);
      for (std::size_t i = 0; i < ends.size(); ++i) {
        EXPECT_NEAR(ends[i], expected[i], kTolerance * expected[i]) << "ring " << i;
      }
    }
  }
}

}  // namespace
}  // namespace orrery::sim
