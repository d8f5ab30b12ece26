// SPDX-License-Identifier: Apache-2.0
// A strategy in one line for people, "pp 16 ep 64 zero 1/1 mb 1 1f1b recompute moe_act stages 3 4 ...". For files there
// is strategy/1.
#pragma once

#include "program/strategy.h"

#include <string>

namespace orrery::planner {

/// The degrees and choices that differ between candidates; layouts as runs, "3+14x4+2".
std::string short_text(const Strategy& strategy);

/// Layers of the stages, "3+14x4+2".
std::string layout_text(const Strategy& strategy);

/// Modules that any stage recomputes, "none" or "moe_act".
std::string recompute_text(const Strategy& strategy);

}  // namespace orrery::planner
