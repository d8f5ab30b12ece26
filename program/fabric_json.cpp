// SPDX-License-Identifier: Apache-2.0
// The fabric of cluster/1, read and written: which keys there are depends on its kind (docs/formats/cluster.md).
#include "program/json_parts.h"
#include "program/names.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery {
namespace {

constexpr std::int64_t kMostRouters = 4096;

/// Cut off beyond kMostRouters.
std::int64_t num_routers(const Fabric& fabric) {
  std::int64_t number = 1;
  for (const std::int64_t size : fabric.dimensions) number = std::min(number * size, kMostRouters + 1);
  return number;
}

void read_tree(const JsonObject& in, Fabric& fabric) {
  fabric.oversubscription = in.required("oversubscription").number({.min = 1.0});
  fabric.planes = in.required("planes").integer({.min = 1});
  if (fabric.kind == FabricKind::none) return;
  fabric.num_spines = in.optional("spines").integer({.min = 1, .max = 4096});
  if (const OptionalJsonValue pods = in.optional("pods"); pods.present()) {
    const JsonObject object = pods.value().object();
    fabric.pods = Pods{.leaves = object.required("leaves").integer({.min = 1}),
                       .oversubscription = object.required("oversubscription").number({.min = 1.0})};
    object.finish();
  }
}

void read_dimensions(const JsonObject& in, Fabric& fabric) {
  const JsonValue dimensions = in.required("dimensions");
  for (const JsonValue& size : dimensions.array()) {
    fabric.dimensions.push_back(size.integer({.min = 1, .max = kMostRouters}));
  }
  if (dimensions.kind() != JsonKind::array) return;
  const std::size_t number = fabric.dimensions.size();
  if (fabric.kind == FabricKind::torus && number == 0) dimensions.problem("expected the routers each way, got none");
  if (fabric.kind == FabricKind::dragonfly && number != 2) {
    dimensions.problem(fmt::format("expected the groups and the routers of a group, got {} numbers", number));
    fabric.dimensions.resize(2, 1);
  }
  if (num_routers(fabric) > kMostRouters) {
    dimensions.problem(
        fmt::format("expected at most {} routers, got {}", kMostRouters, fmt::join(fabric.dimensions, " x ")));
  }
}

void read_routers(const JsonObject& in, Fabric& fabric) {
  read_dimensions(in, fabric);
  fabric.link = read_bandwidth(in, "link");
  if (fabric.kind == FabricKind::dragonfly) {
    fabric.global_link = read_bandwidth(in, "global_link");
    fabric.num_global_links = in.required("global_links").integer({.min = 1, .max = 4096});
  }
  const JsonValue latency = in.required("hop_latency");
  if (!latency.is_null()) fabric.hop_latency = latency.quantity<Seconds>(Sign::not_negative);
}

bool has_routers(FabricKind kind) { return kind == FabricKind::torus || kind == FabricKind::dragonfly; }

/// Every router has its nodes.
void check_routers(const JsonObject& in, const Fabric& fabric, const std::vector<NodeGroup>& groups) {
  if (groups.size() > 1) {
    in.required("kind").problem(
        fmt::format("expected one group of nodes on a torus or dragonfly, got {}", groups.size()));
  }
  if (groups.empty() || fabric.dimensions.empty() || num_routers(fabric) > kMostRouters) return;
  const std::int64_t number = num_routers(fabric), num_nodes = groups.front().num_nodes;
  if (num_nodes % number == 0 && num_nodes / number == fabric.nodes_per_leaf) return;
  in.required("dimensions")
      .problem(fmt::format("expected routers for {} nodes, those of group \"{}\", got {} routers of {} each", num_nodes,
                           groups.front().name, fmt::join(fabric.dimensions, " x "), fabric.nodes_per_leaf));
}

}  // namespace

Fabric read_fabric(const JsonObject& in, const std::vector<NodeGroup>& groups) {
  Fabric fabric;
  fabric.kind = in.required("kind").one_of<FabricKind>(kFabricKindNames);
  fabric.nodes_per_leaf = in.required("nodes_per_leaf").integer({.min = 1});
  if (has_routers(fabric.kind)) {
    read_routers(in, fabric);
    check_routers(in, fabric, groups);
  } else {
    read_tree(in, fabric);
  }
  in.finish();
  return fabric;
}

void write_fabric(JsonWriter& out, const Fabric& fabric) {
  out.begin_object().field("kind", name_of(kFabricKindNames, fabric.kind));
  out.field("nodes_per_leaf", fabric.nodes_per_leaf);
  if (has_routers(fabric.kind)) {
    out.key("dimensions").begin_array();
    for (const std::int64_t size : fabric.dimensions) out.value(size);
    out.end_array();
    write_bandwidth(out, "link", fabric.link);
    if (fabric.kind == FabricKind::dragonfly) {
      write_bandwidth(out, "global_link", fabric.global_link);
      out.field("global_links", fabric.num_global_links);
    }
    out.key("hop_latency");
    if (fabric.hop_latency) {
      out.value(*fabric.hop_latency);
    } else {
      out.null();
    }
  } else {
    out.field("oversubscription", fabric.oversubscription).field("planes", fabric.planes);
    if (fabric.num_spines) out.field("spines", *fabric.num_spines);
    if (fabric.pods) {
      out.key("pods").begin_object().field("leaves", fabric.pods->leaves);
      out.field("oversubscription", fabric.pods->oversubscription).end_object();
    }
  }
  out.end_object();
}

}  // namespace orrery
