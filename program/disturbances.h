// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/units.h"
#include "program/link_class.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

// What goes wrong in a step, and when: slow ranks, noise, links that are narrower than they should be or down, traffic
// of others. A property of a prediction and not of a plan; the file is disturbances/1 (docs/formats/disturbances.md).

namespace orrery {

struct Cluster;

/// A rank whose compute takes `factor` times as long.
struct Straggler {
  std::int64_t rank = 0;
  double factor = 1.0;
};

/// Random factors on compute times, log-normal with mean 1: one for each rank, and one for each op of each rank. The
/// numbers are standard deviations of the logarithm. The same seed gives the same step.
struct ComputeNoise {
  double per_rank = 0.0, per_op = 0.0;
  std::uint64_t seed = 1;

  bool is_some() const { return per_rank > 0.0 || per_op > 0.0; }
};

/// When something is the case: from a date of the step on, and to its end unless it says until when.
struct Interval {
  Seconds from;
  std::optional<Seconds> until;
};

/// The links of one kind of a node, or the uplinks of the leaf above it, in both directions: what is left of their
/// bandwidth. 0: they are down. All of them, or one NIC, one uplink, or the uplinks into one plane.
struct LinkFault {
  LinkClass link = LinkClass::nic;
  std::int64_t node = 0;  // over the whole cluster
  double left = 0.0;
  Interval when;
  std::optional<std::int64_t> nic = {}, plane = {}, uplink = {};

  bool is_of_one() const { return nic || plane || uplink; }
};

/// Traffic of somebody else over the NICs of two nodes, and the uplinks where their leaves differ. It yields to nobody.
struct ForeignTraffic {
  std::int64_t from_node = 0, to_node = 0;
  BytesPerSecond rate;
  Interval when;
};

struct Disturbances {
  std::vector<Straggler> stragglers;
  ComputeNoise noise;
  std::vector<LinkFault> links;
  std::vector<ForeignTraffic> traffic;

  bool on_compute() const { return !stragglers.empty() || noise.is_some(); }
  bool on_links() const { return !links.empty() || !traffic.empty(); }
};

/// What the compute of `rank` takes over what it takes undisturbed: as a straggler, and by the noise of ranks.
double rank_factor(const Disturbances& disturbances, std::int64_t rank);
/// On top of that, of op `op` of its class: by the noise of ops.
double op_factor(const Disturbances& disturbances, std::int64_t rank, std::uint32_t op);

/// Throws: ConfigError with all problems of the file.
Disturbances read_disturbances(const std::filesystem::path& path);
Disturbances read_disturbances_text(const std::string& text, const std::string& file);

/// Deterministic text: equal disturbances give equal bytes.
std::string to_json(const Disturbances& disturbances);

/// Throws: ConfigError that names `file` and all ranks, nodes and links that do not exist.
void require_existing(const Disturbances& disturbances, std::int64_t num_ranks, const Cluster& cluster,
                      const std::string& file);

}  // namespace orrery
