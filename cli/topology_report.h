// SPDX-License-Identifier: Apache-2.0
// What `orrery topology` prints of a cluster: counts, what leads from one device to another, what crosses the middle,
// what all-to-all and rings make of the links, and what is not known.
#pragma once

#include "cli/report.h"
#include "program/topology/topology.h"

#include <cstdint>

namespace orrery::cli {

/// `num_seeds`: how many ways to draw equal-cost paths are tried; 0: none.
/// Requires: the topology has no problems.
Report topology_report(const topology::Topology& topology, std::int64_t num_seeds);

}  // namespace orrery::cli
