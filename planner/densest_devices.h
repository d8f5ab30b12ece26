// SPDX-License-Identifier: Apache-2.0
// Of a search on some devices of a cluster only: the same number of each node, as near to each other as any could be.
#pragma once

#include "program/cluster.h"

#include <span>
#include <vector>

namespace orrery::planner {

/// As many devices of each node as `device_of_rank` takes, of the first nodes: whatever group ranks form, none that
/// lies on those devices is more compact. None where none is stated. Requires: nodes of one kind, and as many devices
/// of each.
std::vector<DeviceIndex> densest_of(const Cluster& cluster, std::span<const DeviceIndex> device_of_rank);

}  // namespace orrery::planner
