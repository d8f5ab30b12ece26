// SPDX-License-Identifier: Apache-2.0
#include "program/disturbances.h"

#include "base/errors.h"
#include "base/rng.h"

#include <cmath>

#include <fmt/format.h>

namespace orrery {
namespace {

// Streams of random numbers: one for each rank's ops, one for all ranks' own factors.
constexpr std::uint64_t kOfRanks = ~std::uint64_t{0};

/// Log-normal with mean 1.
double drawn(double sigma, double normal) { return std::exp(sigma * normal - 0.5 * sigma * sigma); }

void require_below(std::int64_t value, std::int64_t end, const std::string& file, const char* what) {
  if (value < end) return;
  throw ConfigError(fmt::format("{}: expected a {} below {}, got {}", file, what, end, value));
}

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

void require_existing(const Disturbances& disturbances, std::int64_t num_ranks, std::int64_t num_nodes,
                      const std::string& file) {
  for (const Straggler& straggler : disturbances.stragglers) require_below(straggler.rank, num_ranks, file, "rank");
  for (const LinkFault& fault : disturbances.links) require_below(fault.node, num_nodes, file, "node");
  for (const ForeignTraffic& traffic : disturbances.traffic) {
    require_below(traffic.from_node, num_nodes, file, "node");
    require_below(traffic.to_node, num_nodes, file, "node");
  }
}

}  // namespace orrery
