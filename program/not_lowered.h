// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/legality.h"

#include <vector>

// What a strategy can say and `lower` cannot do yet. Each dimension that learns to be lowered loses its line here.

namespace orrery {

/// The values of `strategy` that have to wait, each refused by name.
std::vector<Violation> not_lowered(const Model& model, const Strategy& strategy);

}  // namespace orrery
