// SPDX-License-Identifier: Apache-2.0
#include "program/disturbances.h"

#include "base/errors.h"
#include "base/rng.h"
#include "base/units_format.h"
#include "program/cluster.h"
#include "program/topology/uplinks.h"

#include <cmath>
#include <limits>
#include <optional>

#include <fmt/format.h>

namespace orrery {
namespace {

// Streams of random numbers: one for each rank's ops, one for all ranks' own factors.
constexpr std::uint64_t kOfRanks = ~std::uint64_t{0};

/// Log-normal with mean 1.
double drawn(double sigma, double normal) { return std::exp(sigma * normal - 0.5 * sigma * sigma); }

/// All of a node together; unlimited where the cluster does not say.
BytesPerSecond nics_of(const Cluster& cluster, std::int64_t node) {
  const std::optional<Nics>& nics = cluster.groups[cluster.locate_node(node).group].nics;
  const BytesPerSecond unlimited = bytes_per_second(std::numeric_limits<double>::infinity());
  return nics ? nics->each.value_or(unlimited) * static_cast<double>(nics->per_node) : unlimited;
}

class Existing {
 public:
  explicit Existing(const std::string& file) : file_(file) {}

  void require_below(std::optional<std::int64_t> value, std::int64_t end, const char* what) {
    if (!value || *value < end) return;
    problems_.add({.file = file_, .message = fmt::format("expected {} below {}, got {}", what, end, *value)});
  }
  void require_some_left(BytesPerSecond traffic, BytesPerSecond nics, bool inwards, std::int64_t node) {
    if (traffic < nics) return;
    problems_.add(
        {.file = file_,
         .message = fmt::format("expected traffic of less than {}, which is all NICs of node {}, {} it, got {}", nics,
                                node, inwards ? "to" : "from", traffic)});
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
    for (const bool inwards : {false, true}) {
      const std::int64_t node = inwards ? traffic.to_node : traffic.from_node;
      if (node >= num_nodes) continue;
      BytesPerSecond together;  // when it begins
      for (const ForeignTraffic& other : disturbances.traffic) {
        const bool holds =
            other.when.from <= traffic.when.from && (!other.when.until || traffic.when.from < *other.when.until);
        if (holds && (inwards ? other.to_node : other.from_node) == node) together += other.rate;
      }
      existing.require_some_left(together, nics_of(cluster, node), inwards, node);
    }
  }
  existing.throw_if_any();
}

}  // namespace orrery
