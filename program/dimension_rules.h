// SPDX-License-Identifier: Apache-2.0
// Rules of single dimensions of a strategy: what divides what, and which choices exclude each other. Rules of the whole
// (products of degrees, batch, stages, recomputation) are in legality.cpp, which calls these.
#pragma once

#include "program/legality.h"

#include <vector>

namespace orrery {

/// The rule that more stages than layers, the embedding and the head break.
Violation too_many_stages(const Model& model, const Strategy& strategy);

/// Requires: every degree is at least 1, and tp * cp * pp and etp * ep * pp divide the number of devices.
std::vector<Violation> dimension_violations(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                            std::int64_t num_devices);

}  // namespace orrery
