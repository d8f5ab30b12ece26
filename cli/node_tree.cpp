// SPDX-License-Identifier: Apache-2.0
#include "cli/node_tree.h"

#include "base/lower_case.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\n\r";
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(kBlanks) - first + 1));
}

std::string line_of(const fs::path& path) { return trimmed(text_of(path)); }

/// The number with which a text begins: "32.0 GT/s PCIe", "400 Gb/sec (4X NDR)".
std::optional<double> number_of(std::string_view text) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value <= 0.0) return std::nullopt;
  return value;
}

/// Names in a folder, sorted; none if it is not there.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder, error)) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

/// Payload of a link: from 8 GT/s on, 128 of 130 bits; before, 8 of 10. Source: PCI Express base specification.
std::optional<BytesPerSecond> pcie_of(const fs::path& device) {
  const auto rate = number_of(line_of(device / "max_link_speed"));
  auto lanes = number_of(line_of(device / "current_link_width"));
  if (!lanes) lanes = number_of(line_of(device / "max_link_width"));
  if (!rate || !lanes) return std::nullopt;
  const double coding = *rate >= 8.0 ? 128.0 / 130.0 : 0.8;
  return *rate * *lanes * coding * unit::gigabits_per_second;
}

/// nvidia-smi writes the domain of an address with eight digits, the kernel with four; case differs, too.
std::string kernel_address(std::string address) {
  address = lower_case(std::move(address));
  return address.size() == 16 ? address.substr(4) : address;
}

/// Lines of `nvidia-smi nvlink --status`: "GPU 0: ...", then "Link 0: 26.562 GB/s" for each link. By number of the GPU.
std::map<std::size_t, BytesPerSecond> nvlinks_of(const std::string& text) {
  std::map<std::size_t, BytesPerSecond> sums;
  std::istringstream lines(text);
  std::size_t gpu = 0;
  for (std::string line; std::getline(lines, line);) {
    line = trimmed(line);
    if (line.starts_with("GPU ")) gpu = static_cast<std::size_t>(number_of(line.substr(4)).value_or(0.0));
    const std::size_t colon = line.find(": ");
    if (!line.starts_with("Link ") || colon == std::string::npos || !line.ends_with("GB/s")) continue;
    if (const auto rate = number_of(line.substr(colon + 2))) sums[gpu] += *rate * unit::gigabytes_per_second;
  }
  return sums;
}

/// Fills in what nvidia-smi says; its order of GPUs is that of their addresses.
void add_nvidia(const NvidiaSmi& nvidia, std::vector<PciAccelerator>& accelerators) {
  const std::map<std::size_t, BytesPerSecond> links = nvlinks_of(nvidia.links);
  std::istringstream lines(nvidia.devices);
  std::size_t gpu = 0;
  for (std::string line; std::getline(lines, line); ++gpu) {
    std::istringstream fields(line);
    std::array<std::string, 4> field;
    for (std::string& text : field) {
      std::getline(fields, text, ',');
      text = trimmed(text);
    }
    const std::string address = kernel_address(field[0]);
    const auto found = std::find_if(accelerators.begin(), accelerators.end(),
                                    [&](const PciAccelerator& a) { return a.address == address; });
    if (found == accelerators.end()) continue;
    found->name = field[1];
    if (const auto memory = number_of(field[2])) found->memory = mib(*memory);
    if (const auto power = number_of(field[3])) found->power_limit = watts(*power);
    if (links.contains(gpu)) found->nvlink = links.at(gpu);
  }
}

std::vector<PciAccelerator> accelerators_of(const fs::path& root) {
  std::vector<PciAccelerator> found;
  for (const fs::path& device : entries_of(root / "sys/bus/pci/devices")) {
    const std::string kind = line_of(device / "class"), vendor = line_of(device / "vendor");
    // 3D controllers, VGA controllers and processing accelerators; a board's own display chip is of other vendors.
    const bool is_accelerator = kind.starts_with("0x0302") || kind.starts_with("0x0300") || kind.starts_with("0x1200");
    if (!is_accelerator || (vendor != "0x10de" && vendor != "0x1002")) continue;
    PciAccelerator& a = found.emplace_back();
    a.address = device.filename().string();
    a.vendor = vendor == "0x10de" ? "nvidia" : "amd";
    a.pcie = pcie_of(device);
    a.name = line_of(device / "product_name");
    if (const auto memory = number_of(line_of(device / "mem_info_vram_total"))) a.memory = bytes(*memory);
    std::istringstream driver(text_of(root / "proc/driver/nvidia/gpus" / a.address / "information"));
    for (std::string line; std::getline(driver, line);) {
      if (line.starts_with("Model:")) a.name = trimmed(line.substr(6));
    }
  }
  return found;
}

std::vector<NetworkPort> ports_of(const fs::path& root) {
  std::vector<NetworkPort> found;
  for (const fs::path& device : entries_of(root / "sys/class/infiniband")) {
    for (const fs::path& port : entries_of(device / "ports")) {
      const auto rate = number_of(line_of(port / "rate"));
      if (!rate || line_of(port / "state").find("ACTIVE") == std::string::npos) continue;
      found.push_back({device.filename().string(), *rate * unit::gigabits_per_second, true});
    }
  }
  if (!found.empty()) return found;
  for (const fs::path& device : entries_of(root / "sys/class/net")) {
    std::error_code error;
    const auto megabits = number_of(line_of(device / "speed"));
    if (!fs::exists(device / "device", error) || !megabits || line_of(device / "operstate") != "up") continue;
    found.push_back({device.filename().string(), *megabits * 1e-3 * unit::gigabits_per_second, false});
  }
  return found;
}

/// Links of type 11 are xGMI. Source: Linux, drivers/gpu/drm/amd/include/kgd_kfd_interface.h and amdkfd's topology.
bool has_xgmi_links(const fs::path& root) {
  for (const fs::path& node : entries_of(root / "sys/class/kfd/kfd/topology/nodes")) {
    for (const fs::path& link : entries_of(node / "io_links")) {
      if (text_of(link / "properties").find("type 11\n") != std::string::npos) return true;
    }
  }
  return false;
}

/// What a command writes; empty, if there is no such command.
std::string output_of(const char* command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command, "r"), ::pclose);
  std::string text;
  std::array<char, 4096> part{};
  while (pipe) {
    const std::size_t count = std::fread(part.data(), 1, part.size(), pipe.get());
    if (count == 0) break;
    text.append(part.data(), count);
  }
  return text;
}

}  // namespace

NvidiaSmi ask_nvidia_smi(const fs::path& root) {
  if (root != "/") return {text_of(root / "nvidia-smi.csv"), text_of(root / "nvlink.txt")};
  return {output_of("nvidia-smi --query-gpu=pci.bus_id,name,memory.total,power.limit --format=csv,noheader,nounits "
                    "2>/dev/null"),
          output_of("nvidia-smi nvlink --status 2>/dev/null")};
}

NodeTree read_node_tree(const fs::path& root, const NvidiaSmi& nvidia) {
  NodeTree tree{.cpuinfo = text_of(root / "proc/cpuinfo"),
                .meminfo = text_of(root / "proc/meminfo"),
                .accelerators = accelerators_of(root),
                .ports = ports_of(root),
                .has_xgmi = has_xgmi_links(root)};
  add_nvidia(nvidia, tree.accelerators);
  return tree;
}

}  // namespace orrery::cli
