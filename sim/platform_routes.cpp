// SPDX-License-Identifier: Apache-2.0
#include "sim/platform_routes.h"

#include "base/check.h"
#include "base/errors.h"
#include "program/topology/network.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

/// A name of hosts with the numbers of a node and a device in it.
class HostPattern {
 public:
  explicit HostPattern(const std::string& pattern) {
    std::string_view rest = pattern;
    while (true) {
      const std::size_t open = std::min(rest.find('{'), rest.size());
      Piece& piece = pieces_.emplace_back(Piece{.text = std::string(rest.substr(0, open))});
      if (open == rest.size()) break;
      const std::size_t close = std::min(rest.find('}', open), rest.size());
      const std::string_view inside = rest.substr(open + 1, close - open - 1);
      const std::size_t plus = std::min(inside.find('+'), inside.size());
      const std::string_view name = inside.substr(0, plus), offset = inside.substr(std::min(plus + 1, inside.size()));
      const auto [end, error] = std::from_chars(offset.data(), offset.data() + offset.size(), piece.offset);
      const bool is_number = plus == inside.size() || (error == std::errc() && end == offset.data() + offset.size());
      if (close == rest.size() || !is_number || (name != "node" && name != "device")) {
        throw ConfigError(
            fmt::format("hosts: expected {{node}}, {{device}}, or with an offset such as {{node+1}}, got {} in \"{}\"",
                        rest.substr(open, close - open + 1), pattern));
      }
      piece.number = name == "node" ? Number::node : Number::device;
      rest.remove_prefix(close + 1);
    }
    if (!has(Number::node)) {
      throw ConfigError(
          fmt::format("hosts: expected a name with {{node}}, such as \"node{{node}}\", got \"{}\"", pattern));
    }
  }

  bool names_devices() const { return has(Number::device); }
  std::string name_of(std::int64_t node, std::int64_t device) const {
    std::string name;
    for (const Piece& piece : pieces_) {
      name += piece.text;
      if (piece.number == Number::node) name += fmt::format("{}", node + piece.offset);
      if (piece.number == Number::device) name += fmt::format("{}", device + piece.offset);
    }
    return name;
  }

 private:
  enum class Number : std::uint8_t { none, node, device };
  struct Piece {
    std::string text;
    Number number = Number::none;  // after the text
    std::int64_t offset = 0;
  };
  bool has(Number number) const { return std::ranges::find(pieces_, number, &Piece::number) != pieces_.end(); }

  std::vector<Piece> pieces_;
};

/// Rings over hosts: host i sends to the one `stride` hosts on within its part of `size` hosts. The last part may be
/// smaller; parts of one host have no pairs.
std::vector<HostPair> rings(std::size_t first, std::int64_t number, std::int64_t size, std::int64_t stride) {
  std::vector<HostPair> pairs;
  for (std::int64_t part = 0; part < number; part += size) {
    const std::int64_t here = std::min(size, number - part);
    for (std::int64_t i = 0; i < here; ++i) {
      const std::int64_t to = (i + stride) % here;
      if (to == i) continue;
      pairs.push_back({first + static_cast<std::size_t>(part + i), first + static_cast<std::size_t>(part + to)});
    }
  }
  return pairs;
}

struct ClassRate {
  BytesPerSecond bandwidth;
  Seconds latency;
};

/// Of all routes of a class at once.
ClassRate rate_of(std::span<const PlatformRoute> routes, const std::vector<PlatformLink>& links) {
  std::map<std::size_t, double> num_flows;
  ClassRate rate;
  for (const PlatformRoute& route : routes) {
    for (const std::size_t link : route.links) num_flows[link] += 1.0;
    rate.latency = std::max(rate.latency, route.latency);
  }
  std::optional<BytesPerSecond> slowest;
  for (const auto& [link, flows] : num_flows) {
    const BytesPerSecond each = links[link].bandwidth / (links[link].is_shared ? flows : 1.0);
    slowest = std::min(slowest.value_or(each), each);
  }
  CHECK(slowest.has_value(), routes.size());
  rate.bandwidth = *slowest;
  return rate;
}

}  // namespace

PlatformQuestion question_for(const Cluster& cluster, const std::string& pattern) {
  const HostPattern names(pattern);
  if (topology::has_routers(cluster.fabric)) {
    throw ConfigError(
        "platform: expected a cluster whose fabric is a tree or none, got one of routers: their links "
        "cannot be read from a platform");
  }
  PlatformQuestion question{.hosts = {}, .classes = {}, .by_device = names.names_devices()};
  std::int64_t node = 0;
  for (std::size_t g = 0; g < cluster.groups.size(); ++g) {
    const NodeGroup& group = cluster.groups[g];
    const std::size_t first = question.hosts.size();
    const std::int64_t per_node = question.by_device ? group.devices_per_node : 1;
    for (std::int64_t i = 0; i < group.num_nodes; ++i, ++node) {
      for (std::int64_t d = 0; d < per_node; ++d) question.hosts.push_back(names.name_of(node, d));
    }
    const std::int64_t number = group.num_nodes * per_node;
    const std::int64_t domain = group.scale_up.kind == ScaleUpKind::none ? 1 : group.scale_up.span_nodes * per_node;
    const bool has_leaves = cluster.fabric.kind != FabricKind::none && cluster.fabric.nodes_per_leaf < group.num_nodes;
    const std::int64_t leaf = has_leaves ? cluster.fabric.nodes_per_leaf * per_node : number;
    const auto add = [&](PairsOfClass::Kind kind, std::vector<HostPair> pairs) {
      if (!pairs.empty()) question.classes.push_back({.kind = kind, .group = g, .pairs = std::move(pairs)});
    };
    // Hosts are devices below: those of a node are one domain, and the next domain is the next node's.
    if (question.by_device && domain > 1) add(PairsOfClass::Kind::node, rings(first, number, domain, 1));
    if (leaf > std::max(domain, per_node))
      add(PairsOfClass::Kind::rail, rings(first, number, leaf, std::max(domain, per_node)));
    if (has_leaves) add(PairsOfClass::Kind::spine, rings(first, number, number, leaf));
  }
  return question;
}

Cluster with_routes(Cluster cluster, const PlatformQuestion& question, const PlatformRoutes& answer) {
  std::span<const PlatformRoute> rest = answer.routes;
  std::map<std::size_t, BytesPerSecond> network;  // of a host, by group
  double oversubscription = 1.0;
  for (const PairsOfClass& pairs : question.classes) {
    CHECK(rest.size() >= pairs.pairs.size(), rest.size(), pairs.pairs.size());
    const ClassRate rate = rate_of(rest.first(pairs.pairs.size()), answer.links);
    rest = rest.subspan(pairs.pairs.size());
    NodeGroup& group = cluster.groups[pairs.group];
    if (pairs.kind == PairsOfClass::Kind::node) {
      group.scale_up.per_device = rate.bandwidth;
      group.scale_up.latency = rate.latency;
      continue;
    }
    if (!group.nics) {
      throw ConfigError(
          fmt::format("platform: group \"{}\" has several nodes and no nics: expected their number, since "
                      "the routes say only what all of them carry",
                      group.name));
    }
    if (const auto found = network.find(pairs.group); found != network.end()) {
      // One rate of NICs and one latency is all that a cluster holds: those below a leaf.
      oversubscription = std::max(oversubscription, found->second / rate.bandwidth);
      continue;
    }
    network[pairs.group] = rate.bandwidth;
    const double hosts_of_node = question.by_device ? static_cast<double>(group.devices_per_node) : 1.0;
    group.nics->each = rate.bandwidth * hosts_of_node / static_cast<double>(group.nics->per_node);
    group.nics->latency = rate.latency;
  }
  CHECK(rest.empty(), rest.size());
  cluster.fabric.oversubscription = oversubscription;
  cluster.platform.clear();
  return cluster;
}

}  // namespace orrery::sim
