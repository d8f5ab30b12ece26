// SPDX-License-Identifier: Apache-2.0
// Flows that compete, in cases with names, and the links that they cross, written again from the documentation: what
// the independent solver (max_min.h) is asked. Tests run the same cases on the kernel and as programs.
#pragma once

#include "program/disturbances.h"
#include "tests/unit/sim/hand_timed.h"
#include "tests/unit/sim/max_min.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace orrery::testing {

using costmodel::PathClass;

inline constexpr PathClass kNode = PathClass::node, kRail = PathClass::rail, kSpine = PathClass::spine;
inline constexpr double kFast = 1e6;  // GB/s: a cap that never binds

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
  std::vector<LinkFault> faults = {};
  int pod_leaves = 0;  // below spines of their own; 0: one network of spines
  double pod_oversubscription = 1.0;
};

inline std::int64_t node_of(const std::string& site) { return std::stoll(site); }
inline bool is_device(const std::string& site) { return site.find('.') != std::string::npos; }
inline std::int64_t device_of(const std::string& site) { return std::stoll(site.substr(site.find('.') + 1)); }

/// The links of one end of a flow and their capacities in bytes per us, in the words of this test.
inline std::map<std::string, double> links_of(const Case& c, const std::string& site, PathClass path, bool out) {
  const std::string node = site.substr(0, site.find('.')), end = out ? " out" : " in";
  std::map<std::string, double> links;
  if (path == kNode) {
    links["scale-up of all of " + node + end] = 200e3;
    if (is_device(site)) links["scale-up of " + site + end] = 100e3;
    return links;
  }
  links["NICs of " + node + end] = c.nics * c.nic * 1e3;
  if (is_device(site)) links["NIC of " + (c.nics == 1 ? node : site) + end] = c.nic * 1e3;
  if (path == kSpine) {
    links["leaf " + std::to_string(node_of(site) / 2) + end] = 2 * c.nics * c.nic * 1e3 / c.oversubscription;
  }
  return links;
}

/// Between the spines of two pods and the cores.
inline std::map<std::string, double> links_of_pods(const Case& c, const Contender& flow) {
  if (c.pod_leaves == 0 || flow.path != kSpine) return {};
  const std::int64_t from = node_of(flow.from) / 2 / c.pod_leaves, to = node_of(flow.to) / 2 / c.pod_leaves;
  if (from == to) return {};
  const double capacity = c.pod_leaves * 2 * c.nics * c.nic * 1e3 / c.oversubscription / c.pod_oversubscription;
  return {{"pod " + std::to_string(from) + " out", capacity}, {"pod " + std::to_string(to) + " in", capacity}};
}

/// Whether a fault is on the link of this name.
inline bool is_on(const LinkFault& fault, const std::string& link) {
  const std::string node = std::to_string(fault.node);
  if (fault.link == LinkClass::uplink) return link.starts_with("leaf " + std::to_string(fault.node / 2) + " ");
  if (fault.link == LinkClass::scale_up) return link.starts_with("scale-up of") && link.find(" " + node) != link.npos;
  return link.starts_with("NICs of " + node + " ") || link.starts_with("NIC of " + node + ".") ||
         link.starts_with("NIC of " + node + " ");
}

inline std::vector<double> solved(const Case& c) {
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
    links.merge(links_of_pods(c, contender));
    for (const auto& [name, capacity] : links) {
      const auto [link, is_new] = numbers.try_emplace(name, capacities.size());
      if (is_new) capacities.push_back(capacity);
      flow.links.push_back(link->second);
    }
  }
  std::vector<CapacityChange> changes;
  for (const LinkFault& fault : c.faults) {
    for (const auto& [name, link] : numbers) {
      if (!is_on(fault, name)) continue;
      changes.push_back({fault.when.from.in(unit::microsecond), link, capacities[link] * fault.left});
      if (fault.when.until) changes.push_back({fault.when.until->in(unit::microsecond), link, capacities[link]});
    }
  }
  return fair_ends(capacities, flows, changes);
}

inline const std::vector<Case> kCases = {
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
    // Two come over the uplinks of leaf 0 into a NIC that a third one of the same leaf uses. Uplinks of 25 GB/s let
    // each of the two have 12.5 and the third 25; without that limit all have 50 / 3, and the third takes longer.
    {.name = "into one NIC over narrow uplinks",
     .flows = {{"0", "4", kSpine}, {"1", "4", kSpine}, {"5", "4", kRail}},
     .ends = {80, 80, 40},
     .oversubscription = 4.0},
    {.name = "into one NIC over wide uplinks",
     .flows = {{"0", "4", kSpine}, {"1", "4", kSpine}, {"5", "4", kRail}},
     .ends = {60, 60, 60}},
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

}  // namespace orrery::testing
