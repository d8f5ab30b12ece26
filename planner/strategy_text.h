// SPDX-License-Identifier: Apache-2.0
// A strategy in one line for people, "pp 16 ep 64 zero 1/1 micro-batch 1 1f1b recompute moe_act stages
// 3+4x4". For files there
// is strategy/1.
#pragma once

#include "program/strategy.h"

#include <string>

namespace orrery::planner {

/// The degrees and choices that differ between candidates; layouts as runs, "3+14x4+2".
std::string short_text(const Strategy& strategy);

/// Layers of the stages, "3+14x4+2".
std::string layout_text(const Strategy& strategy);

/// The schedule, with its chunks and its kind of context parallelism where there are any: "interleaved x4".
std::string schedule_text(const Strategy& strategy);

/// What runs beside arithmetic, and what is offloaded: "ep+dp", "none".
std::string overlap_text(const Strategy& strategy);

/// Modules that any stage recomputes, "none" or "moe_act".
std::string recompute_text(const Strategy& strategy);

}  // namespace orrery::planner
