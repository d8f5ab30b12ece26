// SPDX-License-Identifier: Apache-2.0
#include "program/disturbances.h"

#include "base/errors.h"
#include "base/rng.h"
#include "program/cluster.h"
#include "program/topology/uplinks.h"

#include <cmath>

#include <fmt/format.h>

namespace orrery {
namespace {

// Streams of random numbers: one for each rank's ops, one for all ranks' own factors.
constexpr std::uint64_t kOfRanks = ~std::uint64_t{0};

/// Log-normal with mean 1.
double drawn(double sigma, double normal) { return std::exp(sigma * normal - 0.5 * sigma * sigma); }

class Existing {
 public:
  explicit Existing(const std::string& file) : file_(file) {}

  void require_below(std::optional<std::int64_t> value, std::int64_t end, const char* what) {
    if (!value || *value < end) return;
    problems_.add({.file = file_, .message = fmt::format("expected {} below {}, got {}", what, end, *value)});
  }
  void throw_if_any() const { problems_.throw_if_any(); }

 private:
  const std::string& file_;
  ProblemList problems_;
};

}  // namespace

double rank_factor(const Disturbances& disturbances, std::int64_t rank) {
  double factor = 1.0;
  for (const Straggler& straggler : disturbances.stragglers) {
    if (straggler.rank == rank) factor *= straggler.factor;
  }
  const ComputeNoise& noise = disturbances.noise;
  if (noise.per_rank == 0.0) return factor;
  return factor * drawn(noise.per_rank, CounterRng(noise.seed, kOfRanks).normal(static_cast<std::uint64_t>(rank)));
}

double op_factor(const Disturbances& disturbances, std::int64_t rank, std::uint32_t op) {
  const ComputeNoise& noise = disturbances.noise;
  if (noise.per_op == 0.0) return 1.0;
  return drawn(noise.per_op, CounterRng(noise.seed, static_cast<std::uint64_t>(rank)).normal(op));
}

void require_existing(const Disturbances& disturbances, std::int64_t num_ranks, const Cluster& cluster,
                      const std::string& file) {
  const std::int64_t num_nodes = cluster.num_nodes();
  Existing existing(file);
  for (const Straggler& straggler : disturbances.stragglers) {
    existing.require_below(straggler.rank, num_ranks, "a rank");
  }
  for (const LinkFault& fault : disturbances.links) {
    existing.require_below(fault.node, num_nodes, "a node");
    if (fault.node >= num_nodes || !fault.is_of_one()) continue;
    const std::size_t group = cluster.locate_node(fault.node).group;
    const auto& nics = cluster.groups[group].nics;
    existing.require_below(fault.nic, nics ? nics->per_node : 0, "a NIC of the node");
    existing.require_below(fault.plane, topology::leaf_uplinks(cluster, group).num_planes, "a plane");
    existing.require_below(fault.uplink, topology::leaf_uplinks(cluster, group).number, "an uplink of the leaf");
  }
  for (const ForeignTraffic& traffic : disturbances.traffic) {
    existing.require_below(traffic.from_node, num_nodes, "a node");
    existing.require_below(traffic.to_node, num_nodes, "a node");
  }
  existing.throw_if_any();
}

}  // namespace orrery
