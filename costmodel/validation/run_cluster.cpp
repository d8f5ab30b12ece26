// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_cluster.h"

#include <algorithm>
#include <regex>
#include <string>
#include <string_view>

namespace orrery::costmodel {
namespace {

/// How servers of a device are built where a run does not say: vendors' reference designs.
struct Server {
  std::string_view gpu;  // beginning of the name in runs/1
  ScaleUpKind scale_up;
  std::int64_t devices = 8, span_nodes = 1, nics = 8;
  double gbps = 400.0;  // each
};
constexpr Server kServers[] = {
    {.gpu = "V100", .scale_up = ScaleUpKind::nvlink, .nics = 4, .gbps = 100.0},  // DGX-1: four ConnectX-4
    {.gpu = "A100", .scale_up = ScaleUpKind::nvlink, .gbps = 200.0},  // DGX A100: eight ConnectX-6 for compute
    {.gpu = "H", .scale_up = ScaleUpKind::nvlink},                    // HGX H100, H200, H800: eight ConnectX-7
    {.gpu = "B200", .scale_up = ScaleUpKind::nvlink},
    {.gpu = "B300", .scale_up = ScaleUpKind::nvlink, .gbps = 800.0},  // ConnectX-8
    {.gpu = "GB200", .scale_up = ScaleUpKind::nvlink, .devices = 4, .span_nodes = 18, .nics = 4},
    {.gpu = "GB300", .scale_up = ScaleUpKind::nvlink, .devices = 4, .span_nodes = 18, .nics = 4, .gbps = 800.0},
    {.gpu = "MI", .scale_up = ScaleUpKind::xgmi},
};
constexpr Server kUnknown{.gpu = "", .scale_up = ScaleUpKind::pcie};

const Server& server_of(std::string_view gpu) {
  const auto found = std::find_if(std::begin(kServers), std::end(kServers),
                                  [&](const Server& server) { return gpu.starts_with(server.gpu); });
  return found == std::end(kServers) ? kUnknown : *found;
}

// One hop in a switch of the domain, and one through two NICs and a switch: science of NCCL's tuning tables is in the
// calibration, this is what stands in without.
constexpr Seconds kHopInside = 3.3 * unit::microsecond, kHopOutside = 5.0 * unit::microsecond;

/// Nodes of a job in each scale-up domain. Schedulers deal jobs out evenly, so that groups of ranks that fit into a
/// domain stay in one: 64 nodes are 16 of each of four racks of 18, which is what Megatron-Bridge tells its exchanges
/// (NUM_OF_HYBRID_EP_RANKS_PER_NVLINK_DOMAIN, 64; perf_recipes/deepseek/gb200/deepseek_v3.py@0ed32959). Counts that no
/// half-full racks add up to fill one rack after the other.
std::int64_t nodes_of_domain(std::int64_t most, std::int64_t num_nodes) {
  if (num_nodes <= most) return num_nodes;
  for (std::int64_t nodes = most; 2 * nodes >= most; --nodes) {
    if (num_nodes % nodes == 0) return nodes;
  }
  return most;
}

/// "800 Gb/s InfiniBand per node", "4x100Gb RoCE", "1600 Gbps node-node interconnect"; of several networks that for
/// compute: "Storage: 2x ..., Compute: 8x ConnectX-7 IB NDR 400Gb/s".
void read_network(const std::string& all, std::int64_t devices_per_node, Nics& nics) {
  std::string text = all;
  if (const std::size_t compute = all.find("ompute:"); compute != std::string::npos) {
    text = all.substr(compute, all.find(',', compute) - compute);
  }
  std::smatch match;
  const auto rate = [](const std::string& gbps) { return std::stod(gbps) / 8.0 * 1e9 * unit::byte_per_second; };
  if (std::regex_search(text, match, std::regex(R"((\d+)x(?: ?[A-Za-z][^,;:]*?[ (])?(\d+) ?Gb)"))) {
    nics.per_node = std::stoll(match[1]);
    nics.each = rate(match[2]);
  } else if (std::regex_search(text, match, std::regex(R"((\d+) ?Gb(/s|ps) .*(per node|node-node))"))) {
    nics.per_node = devices_per_node;
    nics.each = rate(match[1]) / static_cast<double>(devices_per_node);
  }
}

}  // namespace

Cluster cluster_of(const PublishedRun& run, const Device& device) {
  const Server& server = server_of(run.gpu);
  NodeGroup group;
  group.name = run.gpu;
  group.devices_per_node = run.gpus_per_node.value_or(server.devices);
  group.num_nodes = (run.num_gpus + group.devices_per_node - 1) / group.devices_per_node;
  group.device = device;
  group.scale_up = {.kind = server.scale_up,
                    .span_nodes = nodes_of_domain(server.span_nodes, group.num_nodes),
                    .per_device = device.scale_up_bandwidth,
                    .latency = kHopInside};
  group.host.pcie = device.pcie_bandwidth;
  Nics nics{.per_node = server.nics,
            .each = server.gbps / 8.0 * 1e9 * unit::byte_per_second,
            .rails = server.nics,
            .latency = kHopOutside};
  read_network(run.interconnect_intra.value_or(""), group.devices_per_node, nics);  // where one text says all
  read_network(run.interconnect_inter.value_or(""), group.devices_per_node, nics);
  read_network(run.source.table.value_or(""), group.devices_per_node, nics);
  nics.rails = nics.per_node;
  group.nics = nics;
  Cluster cluster;
  cluster.name = run.id;
  cluster.groups.push_back(std::move(group));
  cluster.fabric = {.kind = FabricKind::fat_tree, .nodes_per_leaf = cluster.groups.front().num_nodes};
  return cluster;
}

}  // namespace orrery::costmodel
