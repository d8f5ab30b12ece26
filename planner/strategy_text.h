// SPDX-License-Identifier: Apache-2.0
// A strategy in one line for people, "pp 16 ep 64 zero 1/1 micro-batch 1 1f1b recompute moe_act stages 2x3+13x4+3". For
// files there is strategy/1.
#pragma once

#include "program/strategy.h"

#include <string>

namespace orrery::planner {

/// The degrees and choices that mostly differ between candidates, those that are 1 or off left out; layouts as runs.
std::string short_text(const Strategy& strategy);

/// Layers of the stages, equal ones as a run: "2x3+13x4+3".
std::string layout_text(const Strategy& strategy);

/// The schedule, with the stages of a rank where it interleaves them: "interleaved x4".
std::string schedule_text(const Strategy& strategy);

/// What runs beside arithmetic, and what is offloaded: "ep+dp", "none".
std::string overlap_text(const Strategy& strategy);

/// "3/1", of dense parameters and experts; "3/1 x4" in four instances of the optimizer.
std::string zero_text(const Strategy& strategy);

/// Modules that any stage recomputes, "none" or "moe_act".
std::string recompute_text(const Strategy& strategy);

}  // namespace orrery::planner
