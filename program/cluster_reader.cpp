// SPDX-License-Identifier: Apache-2.0
// cluster/1, read and written (docs/formats/cluster.md).
#include "base/errors.h"
#include "base/files.h"
#include "base/suggestion.h"
#include "program/json_parts.h"
#include "program/names.h"

#include <algorithm>
#include <limits>
#include <set>

#include <fmt/format.h>

namespace orrery {
namespace {

namespace fs = std::filesystem;

constexpr BytesPerSecond kUnlimited = BytesPerSecond::from_si(std::numeric_limits<double>::infinity());
constexpr std::int64_t kMostDevices = std::numeric_limits<std::int32_t>::max();

template <class Q>
std::optional<Q> read_known(const JsonObject& in, std::string_view key, Sign sign = Sign::positive) {
  const JsonValue value = in.required(key);
  if (value.is_null()) return std::nullopt;
  return value.quantity<Q>(sign);
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code ignored;  // without a catalog there are no names
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const fs::path& file = entry.path();
    if (file.extension() == ".json") names.push_back(file.stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Device read_catalog_device(const JsonValue& in, const fs::path& catalog, ProblemList& problems) {
  const std::string name = in.string();
  if (catalog.empty()) {
    in.problem(fmt::format("expected a device/1 object, since the file must be enough on its own, got \"{}\"", name));
    return {};
  }
  const fs::path folder = catalog / "devices";
  const std::vector<std::string> names = names_in(folder);
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    const std::string nearest = nearest_word(name, names);
    in.problem(fmt::format("expected a device of {}, got \"{}\"", folder.string(), name),
               nearest.empty() ? fmt::format("devices there: {}", fmt::join(names, ", "))
                               : fmt::format("did you mean \"{}\"?", nearest));
    return {};
  }
  try {
    const JsonDocument document = JsonDocument::parse_file((folder / (name + ".json")).string());
    Device device = read_device(document.root());
    document.throw_if_problems();
    return device;
  } catch (const ConfigError& error) {
    for (const Problem& problem : error.problems()) problems.add(problem);
    return {};
  }
}

Device read_device_of_group(const JsonValue& in, const fs::path& catalog, ProblemList& problems) {
  switch (in.kind()) {
    case JsonKind::string:
      return read_catalog_device(in, catalog, problems);
    case JsonKind::object:
      return read_device(in.object());
    case JsonKind::null:
    case JsonKind::boolean:
    case JsonKind::integer:
    case JsonKind::number:
    case JsonKind::array:
      in.problem("expected the name of a catalog device, or a device/1 object");
      return {};
  }
  CHECK(false);
}

ScaleUp read_scale_up(const JsonObject& in, std::int64_t num_nodes) {
  ScaleUp out;
  out.kind = in.required("kind").one_of<ScaleUpKind>(kScaleUpKindNames);
  out.span_nodes = in.required("span_nodes").integer({.min = 1, .max = num_nodes});
  out.per_device = read_bandwidth(in, "per_device");
  out.latency = read_known<Seconds>(in, "latency", Sign::not_negative);
  in.finish();
  return out;
}

Nics read_nics(const JsonObject& in) {
  Nics out;
  out.per_node = in.required("per_node").integer({.min = 1, .max = 1024});
  out.each = read_bandwidth(in, "each");
  out.rails = in.required("rails").integer({.min = 1, .max = out.per_node});
  out.latency = read_known<Seconds>(in, "latency", Sign::not_negative);
  in.finish();
  return out;
}

NodeGroup read_group(const JsonObject& in, const fs::path& catalog, ProblemList& problems) {
  NodeGroup group;
  group.name = in.required("name").string();
  group.num_nodes = in.required("nodes").integer({.min = 1, .max = 1 << 20});
  group.devices_per_node = in.required("devices_per_node").integer({.min = 1, .max = 1024});
  group.device = read_device_of_group(in.required("device"), catalog, problems);
  group.scale_up = read_scale_up(in.required("scale_up").object(), group.num_nodes);
  const JsonValue nics = in.required("nics");
  if (!nics.is_null()) group.nics = read_nics(nics.object());
  const JsonObject host = in.required("host").object();
  group.host.pcie = read_bandwidth(host, "pcie");
  group.host.memory = read_known<Bytes>(host, "memory");
  host.finish();
  in.finish();
  return group;
}

void read_groups(const JsonObject& in, const fs::path& catalog, ProblemList& problems, Cluster& cluster) {
  std::set<std::string> names;
  const JsonValue groups = in.required("groups");
  for (const JsonValue& value : groups.array()) {
    const JsonObject object = value.object();
    cluster.groups.push_back(read_group(object, catalog, problems));
    const std::string& name = cluster.groups.back().name;
    if (!names.insert(name).second) {
      object.required("name").problem(fmt::format("expected a name that no other group has, got \"{}\"", name));
    }
  }
  if (groups.kind() == JsonKind::array && cluster.groups.empty()) {
    groups.problem("expected at least one group of nodes, got none");
  }
  if (cluster.num_devices() > kMostDevices) {
    groups.problem(fmt::format("expected at most {} devices, got {}", kMostDevices, cluster.num_devices()));
  }
}

Gateway read_gateway(const JsonObject& in, const Cluster& cluster) {
  Gateway out;
  const JsonValue between = in.required("between");
  const std::vector<JsonValue> ends = between.array();
  if (ends.size() == 2) {
    out.from = ends[0].string();
    out.to = ends[1].string();
  } else if (between.kind() == JsonKind::array) {
    between.problem(fmt::format("expected the names of two groups, got {}", ends.size()));
  }
  for (const JsonValue& end : ends) {
    const bool known = std::any_of(cluster.groups.begin(), cluster.groups.end(),
                                   [&](const NodeGroup& group) { return end.is_text(group.name); });
    if (!known) {
      end.problem(fmt::format("expected the name of a group of this cluster, got \"{}\"", end.string()));
    }
  }
  out.kind = in.required("kind").one_of<GatewayKind>(kGatewayKindNames);
  out.bandwidth = read_bandwidth(in, "bandwidth");
  in.finish();
  return out;
}

std::optional<double> read_failures(const JsonValue& in) {
  if (in.is_null()) return std::nullopt;
  const JsonObject object = in.object();
  const double rate = object.required("per_node_day").number({.min = 0.0});
  object.finish();
  return rate;
}

void read_platform(const JsonObject& in, const fs::path& catalog, Cluster& cluster) {
  const OptionalJsonValue platform = in.optional("platform"), hosts = in.optional("hosts");
  if (platform.present()) {
    cluster.platform = platform.value().string();
    if (catalog.empty()) {
      platform.value().problem("expected no platform: the file must be enough on its own, with the rates in it");
    }
  }
  if (!hosts.present()) return;
  cluster.platform_hosts = hosts.value().string();
  if (!platform.present()) hosts.value().problem("expected the key \"platform\" too, whose hosts these are");
}

}  // namespace

std::optional<BytesPerSecond> read_bandwidth(const JsonObject& in, std::string_view key) {
  const JsonValue value = in.required(key);
  if (value.is_null()) return std::nullopt;
  return value.quantity_or_unlimited<BytesPerSecond>().value_or(kUnlimited);
}

Cluster read_cluster(const JsonObject& in, const std::string& name, const fs::path& catalog, ProblemList& problems) {
  Cluster cluster;
  cluster.name = name;
  in.schema("cluster/1");
  read_groups(in, catalog, problems, cluster);
  cluster.fabric = read_fabric(in.required("fabric").object(), cluster.groups);
  for (const JsonValue& gateway : in.required("gateways").array()) {
    cluster.gateways.push_back(read_gateway(gateway.object(), cluster));
  }
  const JsonValue price = in.required("price"), pue = in.required("pue"), carbon = in.required("carbon_intensity");
  if (!price.is_null()) cluster.usd_per_device_hour = price.number_with_unit(price_units(), Sign::not_negative);
  if (!pue.is_null()) cluster.pue = pue.number({.min = 1.0});
  if (!carbon.is_null()) {
    cluster.kg_co2_per_kwh = carbon.number_with_unit(carbon_intensity_units(), Sign::not_negative);
  }
  cluster.failures_per_node_day = read_failures(in.required("failures"));
  read_platform(in, catalog, cluster);
  in.finish();
  return cluster;
}

Cluster read_cluster(const fs::path& path, const fs::path& catalog) {
  return read_cluster_text(read_file(path.string()), path.string(), catalog);
}

Cluster read_cluster_text(const std::string& text, const std::string& file, const fs::path& catalog) {
  const JsonDocument document = JsonDocument::parse_text(text, file);
  ProblemList problems;
  Cluster cluster = read_cluster(document.root(), fs::path(file).stem().string(), catalog, problems);
  for (const Problem& problem : document.problems().problems()) problems.add(problem);
  problems.throw_if_any();
  return cluster;
}

}  // namespace orrery
