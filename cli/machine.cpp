// SPDX-License-Identifier: Apache-2.0
#include "cli/machine.h"

#include "base/files.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <thread>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

std::int64_t num_cores() { return std::max(1u, std::thread::hardware_concurrency()); }

/// The text behind "key :" on the first line that has it; empty if none does.
std::string value_of(std::string_view text, std::string_view key) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    const std::size_t colon = line.find(':');
    if (line.starts_with(key) && colon != std::string_view::npos) {
      const std::size_t first = line.find_first_not_of(" \t", colon + 1);
      return first == std::string_view::npos ? "" : std::string(line.substr(first));
    }
    begin = end + 1;
  }
  return "";
}

/// "16318292 kB" of meminfo, which means KiB.
std::optional<Bytes> total_memory(std::string_view meminfo) {
  const std::string text = value_of(meminfo, "MemTotal");
  std::int64_t kibibytes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), kibibytes);
  if (error != std::errc() || kibibytes <= 0) return std::nullopt;
  return kib(static_cast<double>(kibibytes));
}

std::string vendor_of(std::string_view cpuinfo) {
  const std::string id = value_of(cpuinfo, "vendor_id");
  if (id == "GenuineIntel") return "intel";
  if (id == "AuthenticAMD") return "amd";
  return id.empty() ? "unknown" : id;
}

}  // namespace

std::int64_t default_num_ranks() { return std::max<std::int64_t>(2, num_cores()); }

std::int64_t num_processors(std::string_view cpuinfo) {
  constexpr std::string_view kKey = "processor\t";
  std::int64_t count = cpuinfo.starts_with(kKey) ? 1 : 0;
  for (std::size_t at = 0; (at = cpuinfo.find('\n', at)) != std::string_view::npos;) {
    if (cpuinfo.substr(++at).starts_with(kKey)) ++count;
  }
  return count;
}

Cluster cpu_cluster(std::string_view cpuinfo, std::string_view meminfo, std::int64_t cores, std::int64_t num_ranks) {
  const std::string name = value_of(cpuinfo, "model name");
  const std::optional<Bytes> memory = total_memory(meminfo);
  Device device;
  device.name = fmt::format("{}, {} cores for {} ranks", name.empty() ? "CPU" : name, cores, num_ranks);
  device.vendor = vendor_of(cpuinfo);
  device.kind = DeviceKind::cpu;
  if (memory) {
    device.memory = bytes(std::floor((*memory / static_cast<double>(num_ranks)).in(unit::byte)));
    device.sources["memory"] = fmt::format("/proc/meminfo: MemTotal, divided by {} ranks", num_ranks);
  }
  Cluster cluster;
  cluster.name = "this-machine";
  cluster.groups.push_back({.name = "cpu",
                            .num_nodes = 1,
                            .devices_per_node = num_ranks,
                            .device = device,
                            .scale_up = {.kind = ScaleUpKind::shared_memory},
                            .nics = std::nullopt,
                            .host = {.pcie = std::nullopt, .memory = memory}});
  cluster.fabric = {.kind = FabricKind::none, .nodes_per_leaf = 1};
  return cluster;
}

Cluster this_machine(std::int64_t num_ranks) {
  return cpu_cluster(read_file("/proc/cpuinfo"), read_file("/proc/meminfo"), num_cores(), num_ranks);
}

}  // namespace orrery::cli
