// SPDX-License-Identifier: Apache-2.0
#include "program/json_parts.h"
#include "program/names.h"

#include <cmath>

#include <fmt/format.h>

namespace orrery {
namespace {

/// A number or a quantity; null when unknown, "unlimited" for an infinite bandwidth.
template <class T>
void write_known(JsonWriter& out, std::string_view key, const std::optional<T>& value) {
  out.key(key);
  if (!value) {
    out.null();
  } else {
    out.value(*value);
  }
}

void write_group(JsonWriter& out, const NodeGroup& group) {
  out.begin_object().field("name", group.name);
  out.field("nodes", group.num_nodes).field("devices_per_node", group.devices_per_node);
  write_device(out.key("device"), group.device);

  out.key("scale_up").begin_object();
  out.field("kind", name_of(kScaleUpKindNames, group.scale_up.kind)).field("span_nodes", group.scale_up.span_nodes);
  write_bandwidth(out, "per_device", group.scale_up.per_device);
  write_known(out, "latency", group.scale_up.latency);
  out.end_object();

  out.key("nics");
  if (group.nics) {
    out.begin_object().field("per_node", group.nics->per_node);
    write_bandwidth(out, "each", group.nics->each);
    out.field("rails", group.nics->rails);
    write_known(out, "latency", group.nics->latency);
    out.end_object();
  } else {
    out.null();
  }

  out.key("host").begin_object();
  write_bandwidth(out, "pcie", group.host.pcie);
  write_known(out, "memory", group.host.memory);
  out.end_object().end_object();
}

void write_gateway(JsonWriter& out, const Gateway& gateway) {
  out.begin_object().key("between").begin_array().value(gateway.from).value(gateway.to).end_array();
  out.field("kind", name_of(kGatewayKindNames, gateway.kind));
  write_bandwidth(out, "bandwidth", gateway.bandwidth);
  out.end_object();
}

std::optional<std::string> with_unit(const std::optional<double>& value, std::string_view unit) {
  if (!value) return std::nullopt;
  return fmt::format("{} {}", *value, unit);
}

}  // namespace

void write_bandwidth(JsonWriter& out, std::string_view key, const std::optional<BytesPerSecond>& value) {
  if (value && std::isinf(value->in(unit::byte_per_second))) {
    out.field(key, "unlimited");
  } else {
    write_known(out, key, value);
  }
}

void write_cluster(JsonWriter& out, const Cluster& cluster) {
  out.begin_object().field("schema", "cluster/1");
  out.key("groups").begin_array();
  for (const NodeGroup& group : cluster.groups) write_group(out, group);
  out.end_array();

  write_fabric(out.key("fabric"), cluster.fabric);

  out.key("gateways").begin_array();
  for (const Gateway& gateway : cluster.gateways) write_gateway(out, gateway);
  out.end_array();

  write_known(out, "price", with_unit(cluster.usd_per_device_hour, "USD/h"));
  write_known(out, "pue", cluster.pue);
  write_known(out, "carbon_intensity", with_unit(cluster.kg_co2_per_kwh, "kg/kWh"));
  out.key("failures");
  if (cluster.failures_per_node_day) {
    out.begin_object().field("per_node_day", *cluster.failures_per_node_day).end_object();
  } else {
    out.null();
  }
  if (!cluster.platform.empty()) out.field("platform", cluster.platform).field("hosts", cluster.platform_hosts);
  out.end_object();
}

std::string to_json(const Cluster& cluster) {
  JsonWriter out;
  write_cluster(out, cluster);
  return out.text();
}

}  // namespace orrery
