// SPDX-License-Identifier: Apache-2.0
// How many cables leave a switch upwards. The fabric of a cluster states what a leaf passes on; over how many links is
// stated too, or follows from cables as fast as the NICs'.
#pragma once

#include "program/cluster.h"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace orrery::topology {

/// What `num_ports` ports of a switch pass on upwards, over `num_links` links of `each`.
struct Upwards {
  std::int64_t num_links = 1;
  std::optional<BytesPerSecond> each;
};

/// Links as fast as the ports below, as many as the oversubscription needs but a multiple of `parts`; or `stated` for
/// each part.
Upwards upwards(std::int64_t num_ports, std::optional<BytesPerSecond> port, double oversubscription, std::int64_t parts,
                std::optional<std::int64_t> stated);

/// Uplinks of a leaf, those of the switches of all its rails together, which are numbered one switch after the other.
struct LeafUplinks {
  std::int64_t number = 0;  // none without a tree
  std::int64_t num_planes = 0;
  std::int64_t of_switch = 1;  // of a rail's switch, or of the one of all NICs
  bool has_rails = false;

  /// A rail's switch has all its uplinks into one plane, that of all NICs as many into each.
  std::int64_t plane_of(std::int64_t uplink) const {
    return has_rails ? uplink / of_switch % num_planes : uplink / (of_switch / num_planes);
  }
};
LeafUplinks leaf_uplinks(const Cluster& cluster, std::size_t group);

/// Of one switch of a leaf. Requires: the group has NICs, and the fabric is a tree.
Upwards uplinks_of_switch(const Cluster& cluster, std::size_t group);

}  // namespace orrery::topology
