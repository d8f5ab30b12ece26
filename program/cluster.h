// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/ids.h"
#include "base/units.h"
#include "program/dtype.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

// The machines: `cluster/1` and `device/1`. Heterogeneous by design: groups of equal nodes; devices are numbered by
// group, node, index. All bandwidths are per direction. What a cluster costs to use (times, efficiencies) is not
// here but in a calibration. A bandwidth that is "unlimited" in the file is infinite here.

namespace orrery {

using DeviceIndex = Id<struct DeviceTag>;

enum class DeviceKind : std::uint8_t { cuda, hip, cpu };

/// One accelerator, or one CPU rank. Absent: unknown (null in the file), an error where it is needed.
struct Device {
  std::string name;
  std::string vendor;
  DeviceKind kind = DeviceKind::cuda;
  std::map<DType, FlopsPerSecond> peak;  // dense peak rate per dtype
  std::optional<Bytes> memory;           // as the driver reports it
  std::optional<BytesPerSecond> memory_bandwidth;
  std::optional<std::int64_t> num_sms;
  std::optional<Watts> idle_power, power_limit;
  std::optional<BytesPerSecond> scale_up_bandwidth, pcie_bandwidth;  // as sold; a cluster states what is wired
  std::optional<double> usd_per_hour;
  /// Where each quantity comes from, by its key in device/1: "memory", "peak/bf16".
  std::map<std::string, std::string> sources;
};

enum class ScaleUpKind : std::uint8_t { none, nvlink, xgmi, pcie, shared_memory };

/// The domain in which devices reach each other without a NIC: usually a node, or a rack of several nodes.
struct ScaleUp {
  ScaleUpKind kind = ScaleUpKind::none;
  std::int64_t span_nodes = 1;
  std::optional<BytesPerSecond> per_device;
  std::optional<Seconds> latency;
};

struct Nics {
  std::int64_t per_node = 0;
  std::optional<BytesPerSecond> each;
  std::int64_t rails = 1;
  std::optional<Seconds> latency;
};

struct Host {
  std::optional<BytesPerSecond> pcie;  // per device, each way
  std::optional<Bytes> memory;         // per node
};

struct NodeGroup {
  std::string name;
  std::int64_t num_nodes = 1;
  std::int64_t devices_per_node = 1;
  Device device;
  ScaleUp scale_up;
  std::optional<Nics> nics;  // absent: a single node without network
  Host host;

  std::int64_t num_devices() const { return num_nodes * devices_per_node; }
  /// NICs of a node, by number.
  struct NicRange {
    std::int64_t first = 0, number = 0;
  };
  /// By which the device at `index` of a node sends: as many for each; where there are fewer NICs than devices,
  /// the one that it shares with its neighbours; where the numbers do not divide, all NICs of the node.
  NicRange own_nics(std::int64_t index) const;
};

enum class FabricKind : std::uint8_t { none, rail_leaf_spine, fat_tree, torus, dragonfly };

/// A third level above the spines of a tree.
struct Pods {
  std::int64_t leaves = 1;        // that share their spines; of each rail where rails have leaves of their own
  double oversubscription = 1.0;  // of the spines
};

struct Fabric {
  FabricKind kind = FabricKind::none;
  std::int64_t nodes_per_leaf = 1;  // of a torus or dragonfly: per router
  // Trees.
  double oversubscription = 1.0;
  std::int64_t planes = 1;
  std::optional<std::int64_t> num_spines = {};  // of a plane, and of each pod; absent: one for each uplink of a leaf
  std::optional<Pods> pods = {};
  // Torus: routers each way. Dragonfly: groups, and routers of a group.
  std::vector<std::int64_t> dimensions = {};
  std::optional<BytesPerSecond> link = {};         // a cable between two routers, within a group of a dragonfly
  std::optional<BytesPerSecond> global_link = {};  // a cable between two groups of a dragonfly
  std::int64_t num_global_links = 1;               // between each two groups
  std::optional<Seconds> hop_latency = {};         // of one more router on the way
};

enum class GatewayKind : std::uint8_t { direct, host_staged };

/// What joins two groups that share no communicator.
struct Gateway {
  std::string from, to;  // names of groups; either direction
  GatewayKind kind = GatewayKind::direct;
  std::optional<BytesPerSecond> bandwidth;  // per node
};

struct Cluster {
  std::string name;  // of the file, without directory and extension
  std::vector<NodeGroup> groups;
  Fabric fabric;
  std::vector<Gateway> gateways;
  std::optional<double> usd_per_device_hour;  // absent: the device's own price holds
  std::optional<double> pue;
  std::optional<double> kg_co2_per_kwh;
  std::optional<double> failures_per_node_day;
  /// A file of SimGrid that states the rates instead; empty: none, or they were taken over already.
  std::string platform;
  std::string platform_hosts = "node{node}";  // how that file names nodes, or devices

  std::int64_t num_devices() const;
  std::int64_t num_nodes() const;
  /// Where a device is. Requires: device < num_devices().
  struct Location {
    std::size_t group = 0;    // into groups
    std::int64_t node = 0;    // over the whole cluster
    std::int64_t index = 0;   // in its node
    std::int64_t domain = 0;  // scale-up domain, over the whole cluster
    std::int64_t leaf = 0;    // leaf switch group of the node
  };
  Location locate(DeviceIndex device) const;
  /// Devices are numbered node by node, through all groups. Requires: node < num_nodes().
  DeviceIndex first_device(std::int64_t node) const;
  /// Where it is.
  Location locate_node(std::int64_t node) const;
};

/// Reads cluster/1; devices given by name come from `catalog`/devices/NAME.json.
/// Throws: ConfigError with all problems of the files.
Cluster read_cluster(const std::filesystem::path& path, const std::filesystem::path& catalog);
Cluster read_cluster_text(const std::string& text, const std::string& file, const std::filesystem::path& catalog);

/// The reverse of read_cluster with every device inline: deterministic text.
std::string to_json(const Cluster& cluster);

}  // namespace orrery
