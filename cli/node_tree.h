// SPDX-License-Identifier: Apache-2.0
// What the kernel and the drivers' tools of one machine say about its devices and networks, read below a root: "/", or
// a folder with a tree as another machine has it. Nothing is concluded here. Source of the layout: Linux,
// Documentation/ABI (sysfs-bus-pci, sysfs-class-infiniband, sysfs-class-net); amdgpu's mem_info_vram_total; the NVIDIA
// driver's /proc/driver/nvidia; output of nvidia-smi.
#pragma once

#include "base/units.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace orrery::cli {

/// An accelerator on the PCIe bus.
struct PciAccelerator {
  std::string address;  // "0000:1b:00.0"
  std::string vendor;   // "nvidia", "amd"
  std::string name;     // as its driver calls it; empty: nobody says
  std::optional<Bytes> memory;
  std::optional<Watts> power_limit;
  std::optional<BytesPerSecond> pcie;    // of the fastest link that it can have, over the lanes that it has
  std::optional<BytesPerSecond> nvlink;  // of all links together
};

/// A port that is up.
struct NetworkPort {
  std::string name;
  BytesPerSecond rate;
  bool is_rdma = false;
};

struct NodeTree {
  std::string cpuinfo, meminfo;  // texts of /proc; empty: cannot be read
  std::vector<PciAccelerator> accelerators;
  /// Ports of RDMA devices; where there are none, those of network cards, virtual ones left out.
  std::vector<NetworkPort> ports;
  bool has_xgmi = false;  // the driver of AMD's devices lists links of that kind
};

/// What nvidia-smi prints: `devices` for --query-gpu=pci.bus_id,name,memory.total,power.limit
/// --format=csv,noheader,nounits, `links` for nvlink --status. Empty: there is none.
struct NvidiaSmi {
  std::string devices, links;
};
/// Below "/" asks the tool; below another root reads nvidia-smi.csv and nvlink.txt in it.
NvidiaSmi ask_nvidia_smi(const std::filesystem::path& root);

NodeTree read_node_tree(const std::filesystem::path& root, const NvidiaSmi& nvidia);

}  // namespace orrery::cli
