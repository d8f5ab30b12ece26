// SPDX-License-Identifier: Apache-2.0
#include "cli/topology_report.h"

#include "base/median.h"
#include "cli/topology_picture.h"
#include "program/topology/check.h"
#include "program/topology/cuts.h"
#include "program/topology/path.h"
#include "program/topology/traffic.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

using topology::LinkGraph;
using topology::LinkKind;
using topology::Path;
using topology::PlaceKind;
using topology::Topology;

/// Beyond this the traffic between all pairs of NICs takes gigabytes.
constexpr std::int64_t kMostNics = 4096;

Value value_of(std::optional<BytesPerSecond> rate) {
  if (!rate) return Value::unknown();
  if (std::isinf(rate->in(unit::byte_per_second))) return "unlimited";
  return *rate;
}

std::string name_of_device(const Topology& topology, DeviceIndex device) {
  return topology.graph()[topology.place_of(device)].name;
}

std::string kinds_text(const Path& path) {
  std::vector<std::string_view> names;
  for (std::size_t kind = 0; kind < topology::kNumLinkKinds; ++kind) {
    const auto link = static_cast<LinkKind>(kind);
    if (link != LinkKind::slot && path.uses(link)) names.push_back(name_of(link));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

/// Examples of all kinds of paths from the first device of each group; of those over routers the nearest and the
/// farthest.
struct Example {
  DeviceIndex from, to;
  Path path;
};
std::vector<Example> examples_of(const Topology& topology) {
  std::vector<Example> found;
  std::int32_t first = 0;
  for (const NodeGroup& group : topology.cluster().groups) {
    std::map<unsigned long, std::pair<std::size_t, std::size_t>> of_kinds;  // nearest and farthest
    for (std::int32_t device = 0; device < topology.num_devices(); ++device) {
      if (device == first) continue;
      const auto path = path_between(topology, DeviceIndex(first), DeviceIndex(device));
      if (!path) continue;
      const auto [entry, is_new] = of_kinds.try_emplace(path->kinds.to_ulong(), found.size(), found.size());
      Example example{.from = DeviceIndex(first), .to = DeviceIndex(device), .path = *path};
      auto& [nearest, farthest] = entry->second;
      if (is_new) {
        found.push_back(std::move(example));
      } else if (path->num_hops > found[farthest].path.num_hops) {
        if (farthest == nearest) {
          farthest = found.size();
          found.push_back(std::move(example));
        } else {
          found[farthest] = std::move(example);
        }
      } else if (path->num_hops < found[nearest].path.num_hops) {
        found[nearest] = std::move(example);
      }
    }
    first += static_cast<std::int32_t>(group.num_devices());
  }
  std::ranges::stable_sort(found, {}, [](const Example& example) { return example.path.kinds.to_ulong(); });
  return found;
}

Table paths_table(const Topology& topology) {
  Table table{.columns = {{"class", "class"},
                          {"from", "from"},
                          {"to", "to"},
                          {"bandwidth", "bandwidth"},
                          {"latency", "latency"},
                          {"links", "links"}},
              .rows = {}};
  for (const auto& [from, to, path] : examples_of(topology)) {
    std::string links = kinds_text(path);
    if (path.num_hops > 0.0) links += fmt::format(" ({:.3g} between routers)", path.num_hops);
    table.rows.push_back({class_of(path), name_of_device(topology, from), name_of_device(topology, to),
                          value_of(path.bandwidth), path.latency ? Value(*path.latency) : Value::unknown(), links});
  }
  return table;
}

Table links_table(const LinkGraph& graph) {
  struct Links {
    std::int64_t count = 0;
    std::optional<BytesPerSecond> least, most;
    bool unknown = false;
    BytesPerSecond all;
  };
  std::map<LinkKind, Links> of_kind;
  for (const topology::Link& link : graph.links) {
    if (link.kind == LinkKind::slot) continue;
    Links& links = of_kind[link.kind];
    ++links.count;
    links.unknown = links.unknown || !link.bandwidth;
    if (!link.bandwidth) continue;
    links.least = std::min(links.least.value_or(*link.bandwidth), *link.bandwidth);
    links.most = std::max(links.most.value_or(*link.bandwidth), *link.bandwidth);
    links.all += *link.bandwidth;
  }
  Table table{.columns = {{"link", "link"},
                          {"count", "number each way"},
                          {"least", "slowest"},
                          {"most", "fastest"},
                          {"all", "together, each way"}},
              .rows = {}};
  for (const auto& [kind, links] : of_kind) {
    table.rows.push_back({name_of(kind), links.count / 2, value_of(links.least), value_of(links.most),
                          links.unknown ? Value::unknown() : value_of(links.all / 2.0)});
  }
  return table;
}

/// Bandwidth into places of one kind from below over that from them upwards, of the worst of them; nothing upwards: 0.
double oversubscription(const LinkGraph& graph, PlaceKind of, LinkKind below, LinkKind above) {
  std::map<topology::PlaceIndex, BytesPerSecond> in, out;
  for (const topology::Link& link : graph.links) {
    if (link.kind == below && graph[link.to].kind == of) in[link.to] += link.bandwidth.value_or(BytesPerSecond());
    if (link.kind == above && graph[link.from].kind == of) out[link.from] += link.bandwidth.value_or(BytesPerSecond());
  }
  double worst = 0.0;
  for (const auto& [place, rate] : out) worst = std::max(worst, in[place] / rate);
  return worst;
}

std::vector<DeviceIndex> all_devices(const Topology& topology) {
  std::vector<DeviceIndex> devices;
  for (std::int32_t i = 0; i < topology.num_devices(); ++i) devices.emplace_back(i);
  return devices;
}

/// Every device sends to the one of its index `stride` nodes on, round the group.
topology::Traffic node_ring(const Topology& topology, std::int64_t stride) {
  topology::Traffic traffic(topology);
  std::int64_t first = 0;
  for (const NodeGroup& group : topology.cluster().groups) {
    for (std::int64_t device = 0; device < group.num_devices(); ++device) {
      const std::int64_t to = (device + stride * group.devices_per_node) % group.num_devices();
      traffic.send(DeviceIndex(static_cast<std::int32_t>(first + device)),
                   DeviceIndex(static_cast<std::int32_t>(first + to)), bytes(1.0));
    }
    first += group.num_devices();
  }
  return traffic;
}

/// A pattern of traffic, every device sending `sent`.
struct Pattern {
  std::string name;
  topology::Traffic traffic;
  double sent = 1.0;
};

std::vector<Pattern> patterns_of(const Topology& topology) {
  std::vector<Pattern> patterns;
  const std::vector<DeviceIndex> devices = all_devices(topology);
  patterns.push_back(
      {"all-to-all", all_to_all(topology, devices, bytes(1.0)), static_cast<double>(devices.size()) - 1.0});
  const Fabric& fabric = topology.cluster().fabric;
  std::int64_t most_nodes = 0;
  for (const NodeGroup& group : topology.cluster().groups) most_nodes = std::max(most_nodes, group.num_nodes);
  if (most_nodes > 1) patterns.push_back({"to the next node", node_ring(topology, 1), 1.0});
  if (fabric.kind != FabricKind::none && fabric.nodes_per_leaf > 1 && most_nodes > fabric.nodes_per_leaf) {
    patterns.push_back({"to the next leaf", node_ring(topology, fabric.nodes_per_leaf), 1.0});
  }
  return patterns;
}

Table traffic_table(const Topology& topology, const std::vector<Pattern>& patterns) {
  Table table{
      .columns = {{"pattern", "pattern"}, {"rate", "of each device"}, {"binds", "what binds"}, {"link", "for example"}},
      .rows = {}};
  const LinkGraph& graph = topology.graph();
  for (const Pattern& pattern : patterns) {
    const topology::LinkLoads loads = pattern.traffic.loads();
    const topology::LinkIndex busiest = loads.busiest(graph);
    if (busiest.is_none()) {
      table.rows.push_back({pattern.name, "unlimited", "nothing", ""});
      continue;
    }
    table.rows.push_back({pattern.name, bytes(pattern.sent) / loads.time(graph), name_of(graph[busiest].kind),
                          fmt::format("{} to {}", graph[graph[busiest].from].name, graph[graph[busiest].to].name)});
  }
  return table;
}

Table ecmp_table(const Topology& topology, const std::vector<Pattern>& patterns, std::int64_t num_seeds) {
  Table table{.columns = {{"pattern", "pattern"}, {"least", "least"}, {"median", "median"}, {"most", "most"}},
              .rows = {}};
  for (const Pattern& pattern : patterns) {
    const Seconds balanced = pattern.traffic.loads().time(topology.graph());
    if (balanced <= Seconds::zero()) continue;
    std::vector<double> factors;
    for (std::int64_t seed = 0; seed < num_seeds; ++seed) {
      factors.push_back(pattern.traffic.loads(static_cast<std::uint64_t>(seed)).time(topology.graph()) / balanced);
    }
    table.rows.push_back(
        {pattern.name, *std::ranges::min_element(factors), median(factors), *std::ranges::max_element(factors)});
  }
  return table;
}

void add_counts(Report& report, const Topology& topology) {
  const Cluster& cluster = topology.cluster();
  report.fact("devices", "devices", topology.num_devices())
      .fact("nodes", "nodes", cluster.num_nodes())
      .fact("domains", "scale-up domains", topology.count(PlaceKind::scale_up))
      .fact("nics", "NICs", topology.num_nics());
  const auto add = [&](const char* key, const char* label, PlaceKind kind) {
    if (topology.count(kind) > 0) report.fact(key, label, topology.count(kind));
  };
  add("leaves", "leaf switches", PlaceKind::leaf);
  add("spines", "spine switches", PlaceKind::spine);
  add("cores", "core switches", PlaceKind::core);
  add("routers", "routers", PlaceKind::router);
  if (topology.count(PlaceKind::leaf) > 0) report.fact("planes", "planes", cluster.fabric.planes);
  const LinkGraph& graph = topology.graph();
  if (topology.count(PlaceKind::spine) > 0) {
    report.fact("leaf_oversubscription", "oversubscription of a leaf",
                oversubscription(graph, PlaceKind::leaf, LinkKind::nic, LinkKind::uplink));
  }
  if (topology.count(PlaceKind::core) > 0) {
    report.fact("spine_oversubscription", "oversubscription of a spine",
                oversubscription(graph, PlaceKind::spine, LinkKind::uplink, LinkKind::core));
  }
}

}  // namespace

Report topology_report(const Topology& topology, std::int64_t num_seeds) {
  Report report("Topology");
  report.fact("cluster", "cluster", topology.cluster().name);
  add_counts(report, topology);
  if (topology.num_devices() > 1) {
    const topology::Bisection half = bisection(topology);
    report.fact("bisection", "bisection, each way", value_of(half.bandwidth))
        .fact("bisection_per_device", "of each device of a half",
              value_of(half.bandwidth / static_cast<double>(half.num_devices)));
    report.table("paths", "Paths, of a flow that is alone", paths_table(topology));
  }
  report.table("links", "Links", links_table(topology.graph()));
  if (topology.num_devices() > 1 && topology.num_nics() <= kMostNics) {
    const std::vector<Pattern> patterns = patterns_of(topology);
    report.table("traffic", "All devices at once, by the busiest link", traffic_table(topology, patterns));
    if (num_seeds > 0) {
      report.table("ecmp", fmt::format("Time of the busiest link over that of balanced paths, {} seeds", num_seeds),
                   ecmp_table(topology, patterns, num_seeds));
    }
  } else if (topology.num_nics() > kMostNics) {
    report.note(fmt::format("traffic of all devices at once is routed for at most {} NICs", kMostNics));
  }
  const std::vector<topology::Unknown> unknowns = topology::unknowns_of(topology.cluster());
  if (!unknowns.empty()) {
    Table table{.columns = {{"key", "key"}, {"what", "what it is needed for"}}, .rows = {}};
    for (const topology::Unknown& unknown : unknowns) table.rows.push_back({unknown.pointer, unknown.what});
    report.table("unknown", "Unknown", std::move(table));
  }
  return report;
}

}  // namespace orrery::cli
