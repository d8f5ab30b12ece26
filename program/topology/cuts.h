// SPDX-License-Identifier: Apache-2.0
// Questions about a whole topology that need a search: which devices hang together, and what can cross a cut.
#pragma once

#include "program/topology/topology.h"

#include <cstdint>
#include <vector>

namespace orrery::topology {

/// For each device the number of the island that it is on, islands numbered in the order of their first devices.
std::vector<std::int64_t> islands(const Topology& topology);

struct Bisection {
  std::int64_t num_devices = 0;  // of the first half
  BytesPerSecond bandwidth;      // from the first half to the second; infinite: something on the way is unlimited
};

/// Most that the first half of the devices can send to the others, by whatever routes: a minimum cut of the links. The
/// halves are whole scale-up domains in the order of their numbers; of devices where there is one domain. Unknown
/// bandwidths count as unlimited.
/// Requires: at least two devices.
Bisection bisection(const Topology& topology);

}  // namespace orrery::topology
