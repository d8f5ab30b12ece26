// SPDX-License-Identifier: Apache-2.0
#include "cli/detected_cluster.h"

#include "base/json_reader.h"
#include "cli/machine.h"
#include "program/json_parts.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

/// Parts of names that drivers give, and the device of the catalog. The first that fits: longer ones stand in front.
constexpr std::pair<std::string_view, const char*> kCatalogNames[] = {
    {"H100 80GB HBM3", "h100"}, {"H200 NVL", "h200-nvl"},   {"H200", "h200"},
    {"H800", "h800"},           {"A100-SXM4-80GB", "a100"}, {"A100-SXM4-40GB", "a100-40gb"},
    {"GB300", "gb300"},         {"GB200", "gb200"},         {"B300", "b300"},
    {"B200", "b200"},           {"L40S", "l40s"},           {"MI300X", "mi300x"},
    {"MI325X", "mi325x"},       {"MI350X", "mi350x"},       {"MI355X", "mi355x"}};

Device device_of(const PciAccelerator& a, const std::filesystem::path& catalog, std::vector<std::string>& questions) {
  const auto* const known = std::find_if(std::begin(kCatalogNames), std::end(kCatalogNames), [&](const auto& entry) {
    return a.name.find(entry.first) != std::string::npos;
  });
  if (known != std::end(kCatalogNames)) {
    const JsonDocument document =
        JsonDocument::parse_file((catalog / "devices" / (std::string(known->second) + ".json")).string());
    Device device = read_device(document.root());
    document.throw_if_problems();
    if (a.power_limit && a.power_limit != device.power_limit) {
      device.power_limit = a.power_limit;
      device.sources["power_limit"] = "nvidia-smi: power.limit";
    }
    return device;
  }
  Device device;
  device.name = a.name.empty() ? fmt::format("{} device at {}", a.vendor, a.address) : a.name;
  device.vendor = a.vendor;
  device.kind = a.vendor == "amd" ? DeviceKind::hip : DeviceKind::cuda;
  device.memory = a.memory;
  if (a.memory)
    device.sources["memory"] = a.vendor == "amd" ? "amdgpu: mem_info_vram_total" : "nvidia-smi: memory.total";
  device.power_limit = a.power_limit;
  if (a.power_limit) device.sources["power_limit"] = "nvidia-smi: power.limit";
  device.pcie_bandwidth = a.pcie;
  if (a.pcie) device.sources["pcie_bandwidth"] = "sysfs: max_link_speed, current_link_width";
  questions.push_back(
      fmt::format("/groups/0/device: no device of the catalog is called \"{}\": peak rates, bandwidth of "
                  "the memory and power?",
                  device.name));
  return device;
}

ScaleUp scale_up_of(const NodeTree& tree, const PciAccelerator& a, std::size_t num_devices) {
  if (num_devices == 1) return {.kind = ScaleUpKind::none};
  if (a.nvlink) return {.kind = ScaleUpKind::nvlink, .per_device = a.nvlink};
  if (a.vendor == "amd" && tree.has_xgmi) return {.kind = ScaleUpKind::xgmi};
  return {.kind = ScaleUpKind::pcie, .per_device = a.pcie};
}

/// The fastest ports, which are as many as carry traffic of training; slower ones are for other things.
std::optional<Nics> nics_of(const NodeTree& tree, std::int64_t num_devices, std::vector<std::string>& questions) {
  if (tree.ports.empty()) {
    questions.emplace_back("/groups/0/nics: no network port is up: is there one, and how fast?");
    return std::nullopt;
  }
  Nics nics{.each = BytesPerSecond()};
  for (const NetworkPort& port : tree.ports) nics.each = std::max(*nics.each, port.rate);
  std::string names, slower;
  for (const NetworkPort& port : tree.ports) {
    const bool counts = port.rate == *nics.each;
    nics.per_node += counts ? 1 : 0;
    std::string& list = counts ? names : slower;
    list += (list.empty() ? "" : " ") + port.name;
  }
  if (!slower.empty()) {
    questions.push_back(
        fmt::format("/groups/0/nics: {} are the fastest ports; {} were left out: right?", names, slower));
  }
  nics.rails = nics.per_node == num_devices ? nics.per_node : 1;
  questions.push_back(fmt::format("/groups/0/nics/rails: {}, since there are {} ports for {} devices: right?",
                                  nics.rails, nics.per_node, num_devices));
  questions.emplace_back("/groups/0/nics/latency: how long does a small message take to another node?");
  return nics;
}

}  // namespace

DetectedCluster detected_cluster(const NodeTree& tree, const std::filesystem::path& catalog, std::int64_t min_ranks) {
  DetectedCluster out;
  const std::int64_t num_cores = std::max<std::int64_t>(num_processors(tree.cpuinfo), 1);
  out.cluster = cpu_cluster(tree.cpuinfo, tree.meminfo, num_cores, std::max(num_cores, min_ranks));
  NodeGroup& group = out.cluster.groups.front();
  std::vector<std::string>& ask = out.questions;
  if (tree.accelerators.empty()) {
    ask.emplace_back("/groups/0/device: rates of a CPU are measured, not looked up: orrery calibrate");
  } else {
    // Equal devices are a group, and a group has nodes of its own; of mixed ones the most numerous are described.
    std::map<std::string, std::vector<const PciAccelerator*>> kinds;
    for (const PciAccelerator& a : tree.accelerators) kinds[a.vendor + " " + a.name].push_back(&a);
    const auto largest = std::max_element(
        kinds.begin(), kinds.end(), [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
    for (const auto& [name, devices] : kinds) {
      if (name == largest->first) continue;
      ask.push_back(
          fmt::format("/groups: {} devices \"{}\" were left out: a group has nodes of one kind", devices.size(), name));
    }
    const PciAccelerator& a = *largest->second.front();
    group.name = a.vendor;
    group.devices_per_node = static_cast<std::int64_t>(largest->second.size());
    group.device = device_of(a, catalog, ask);
    group.scale_up = scale_up_of(tree, a, largest->second.size());
    group.host.pcie = a.pcie;
    if (!a.pcie) ask.emplace_back("/groups/0/host/pcie: how fast is the link between a device and its host?");
    if (group.devices_per_node > 1) {
      if (!group.scale_up.per_device) {
        ask.emplace_back("/groups/0/scale_up/per_device: how fast is a device among those of its node?");
      }
      ask.emplace_back("/groups/0/scale_up/latency: how long does a small message take between two devices?");
    }
  }
  if (!group.host.memory) ask.emplace_back("/groups/0/host/memory: how large is the memory of a node?");
  group.nics = nics_of(tree, group.devices_per_node, ask);
  ask.emplace_back("/price, /pue, /carbon_intensity, /failures: nothing here says them");
  return out;
}

namespace {

/// The memory that a kernel leaves differs by some pages between nodes that are the same otherwise.
bool is_rest_of_memory(const Device& device) { return device.kind == DeviceKind::cpu; }

std::string text_without_memory(NodeGroup group) {
  group.num_nodes = 1;
  group.host.memory = std::nullopt;
  if (is_rest_of_memory(group.device)) group.device.memory = std::nullopt;
  Cluster alone;
  alone.groups = {group};
  return to_json(alone);
}

void keep_smaller(std::optional<Bytes>& memory, const std::optional<Bytes>& other) {
  memory = memory && other ? std::optional(std::min(*memory, *other)) : std::nullopt;
}

}  // namespace

DetectedCluster merged(const std::vector<Cluster>& nodes) {
  DetectedCluster out;
  out.cluster = nodes.front();
  std::vector<NodeGroup>& groups = out.cluster.groups;
  groups.clear();
  std::vector<std::string> texts;  // by group
  for (const Cluster& node : nodes) {
    for (const NodeGroup& group : node.groups) {
      const std::string text = text_without_memory(group);
      const auto found = std::find(texts.begin(), texts.end(), text);
      if (found == texts.end()) {
        texts.push_back(text);
        groups.push_back(group);
        continue;
      }
      NodeGroup& same = groups[static_cast<std::size_t>(found - texts.begin())];
      same.num_nodes += group.num_nodes;
      keep_smaller(same.host.memory, group.host.memory);
      if (is_rest_of_memory(group.device)) keep_smaller(same.device.memory, group.device.memory);
    }
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const auto same = [&](const NodeGroup& other) { return other.name == groups[i].name; };
    if (std::any_of(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(i), same)) {
      groups[i].name += fmt::format("-{}", i + 1);
    }
  }
  const std::int64_t num_nodes = out.cluster.num_nodes();
  out.cluster.fabric.nodes_per_leaf = num_nodes;
  if (num_nodes == 1) return out;
  const bool has_rails = std::all_of(groups.begin(), groups.end(),
                                     [](const NodeGroup& group) { return group.nics && group.nics->rails > 1; });
  const bool talks =
      std::all_of(groups.begin(), groups.end(), [](const NodeGroup& group) { return group.nics.has_value(); });
  if (!talks) return out;
  out.cluster.fabric.kind = has_rails ? FabricKind::rail_leaf_spine : FabricKind::fat_tree;
  out.questions.push_back(
      fmt::format("/fabric: nodes do not see their switches; taken as {} nodes below one leaf: which below which, and "
                  "how many uplinks?",
                  num_nodes));
  return out;
}

}  // namespace orrery::cli
