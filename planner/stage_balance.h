// SPDX-License-Identifier: Apache-2.0
// Layers laid on stages so that the slowest stage takes the least: embedding, head and prediction modules weigh what
// they take, dense and MoE layers too.
#pragma once

#include "base/units.h"
#include "planner/operator_table.h"
#include "program/model.h"
#include "program/strategy.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::planner {

/// Layers of each stage. `layers`: times in order; `first`, `last`: what the first and the last stage have beside them.
/// Every stage but the ends gets a layer. The largest sum is the smallest that there is; ends give layers to the
/// middle. Requires: a layer, and most_stages(layers.size()) >= num_stages >= 1.
std::vector<std::int64_t> balanced_counts(std::span<const Seconds> layers, Seconds first, Seconds last,
                                          std::int64_t num_stages);

/// The stages of `strategy` in equal time, nothing recomputed; nothing where there are too many.
std::vector<StageLayout> stages_in_equal_time(const Model& model, const Strategy& strategy, OperatorTable& table);

}  // namespace orrery::planner
