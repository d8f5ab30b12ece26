// SPDX-License-Identifier: Apache-2.0
// The way between two devices, summed up: which links, the bandwidth of a flow that is alone, the latency.
#pragma once

#include "program/topology/topology.h"

#include <bitset>
#include <optional>
#include <string_view>
#include <vector>

namespace orrery::topology {

using LinkKinds = std::bitset<kNumLinkKinds>;

struct Path {
  std::vector<std::pair<LinkIndex, double>> links;  // each with the part of the flow that takes it; balanced ways
  LinkKinds kinds;
  BytesPerSecond bandwidth = kUnlimited;  // of links that are known
  std::optional<Seconds> latency;         // of a small message, as the cluster states it
  double num_hops = 0.0;                  // cables between routers of a torus or dragonfly

  bool uses(LinkKind kind) const { return kinds[static_cast<std::size_t>(kind)]; }
};

/// Nothing where there is no way. Requires: from != to.
std::optional<Path> path_between(const Topology& topology, DeviceIndex from, DeviceIndex to);

/// The class in the words of calibrations and traces: "node", "rail", "spine"; beyond them "gateway".
std::string_view class_of(const Path& path);

}  // namespace orrery::topology
