// SPDX-License-Identifier: Apache-2.0
#include "costmodel/network_limit.h"

#include "base/check.h"
#include "base/errors.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

using topology::Link;
using topology::LinkIndex;
using topology::LinkKind;

bool can_limit(const Fabric& fabric) {
  const bool is_tree = fabric.kind == FabricKind::rail_leaf_spine || fabric.kind == FabricKind::fat_tree;
  return topology::has_routers(fabric) || (is_tree && (fabric.oversubscription > 1.0 || fabric.pods));
}

template <class Q>
Q needed(const std::optional<Q>& value, const Cluster& cluster, std::string_view key) {
  if (value) return *value;
  throw ConfigError(
      fmt::format("cluster {}: fabric.{} is unknown (null): expected its value, since ranks of the plan "
                  "communicate over routers",
                  cluster.name, key));
}

/// Loads of links between switches, and the longest way over routers.
class Loads {
 public:
  explicit Loads(const topology::Topology& topology) : topology_(topology) {}

  void send(DeviceIndex from, DeviceIndex to, double size) {
    double hops = 0.0;
    const bool reached = topology_.route(from, to, topology::Ways::balanced(), [&](LinkIndex link, double share) {
      const LinkKind kind = topology_.graph()[link].kind;
      if (!topology::is_between_switches(kind)) return;
      of_[link] += bytes(size * share);
      if (kind == LinkKind::hop || kind == LinkKind::global) hops += share;
    });
    CHECK(reached, from, to);
    num_hops_ = std::max(num_hops_, hops);
  }

  Seconds slowest() const {
    Seconds time;
    for (const auto& [index, load] : of_) time = std::max(time, load / bandwidth_of(topology_.graph()[index]));
    return time;
  }
  double num_hops() const { return num_hops_; }

 private:
  BytesPerSecond bandwidth_of(const Link& link) const {
    const std::string_view key = link.kind == LinkKind::global ? "global_link" : "link";
    if (link.kind == LinkKind::hop || link.kind == LinkKind::global) {
      return needed(link.bandwidth, topology_.cluster(), key);
    }
    return link.bandwidth.value_or(topology::kUnlimited);  // follows from the NIC's, which says so itself
  }

  const topology::Topology& topology_;
  std::map<LinkIndex, Bytes> of_;
  double num_hops_ = 0.0;
};

using Domains = std::map<std::int64_t, std::vector<DeviceIndex>>;

std::size_t fewest_in(const Domains& domains) {
  std::size_t fewest = domains.begin()->second.size();
  for (const auto& [ignored, members] : domains) fewest = std::min(fewest, members.size());
  return fewest;
}

void send_rings(const Domains& domains, Loads& loads) {
  const auto fewest = static_cast<double>(fewest_in(domains));
  for (auto domain = domains.begin(); domain != domains.end(); ++domain) {
    const auto next = std::next(domain) == domains.end() ? domains.begin() : std::next(domain);
    const std::vector<DeviceIndex>&from = domain->second, &to = next->second;
    for (std::size_t i = 0; i < from.size(); ++i) {
      loads.send(from[i], to[i % to.size()], fewest / static_cast<double>(from.size()));
    }
  }
}

}  // namespace

NetworkLimit::NetworkLimit(const Cluster& cluster) {
  if (can_limit(cluster.fabric)) topology_ = std::make_shared<const topology::Topology>(cluster);
}

NetworkLimit::Limit NetworkLimit::of(TrafficPattern pattern, std::span<const DeviceIndex> members) const {
  if (!topology_) return {};
  const Cluster& cluster = topology_->cluster();
  Domains domains;
  for (const DeviceIndex member : members) domains[cluster.locate(member).domain].push_back(member);
  if (domains.size() < 2) return {};
  Loads loads(*topology_);
  double sent = 1.0;  // beyond its domain, by the member that sends most
  switch (pattern) {
    case TrafficPattern::all_pairs:
      sent = static_cast<double>(members.size() - fewest_in(domains));
      for (const auto& [a, from] : domains) {
        for (const auto& [b, to] : domains) {
          if (a == b) continue;
          for (const DeviceIndex sender : from) {
            for (const DeviceIndex receiver : to) loads.send(sender, receiver, 1.0);
          }
        }
      }
      break;
    case TrafficPattern::domain_rings:
      send_rings(domains, loads);
      break;
    case TrafficPattern::shift:
      for (std::size_t i = 0; i < members.size(); ++i) {
        const DeviceIndex to = members[(i + 1) % members.size()];
        if (cluster.locate(members[i]).domain != cluster.locate(to).domain) loads.send(members[i], to, 1.0);
      }
      break;
  }
  Limit limit;
  if (const Seconds time = loads.slowest(); time > Seconds::zero()) limit.rate = bytes(sent) / time;
  if (loads.num_hops() > 0.0) {
    limit.latency = loads.num_hops() * needed(cluster.fabric.hop_latency, cluster, "hop_latency");
  }
  return limit;
}

}  // namespace orrery::costmodel
