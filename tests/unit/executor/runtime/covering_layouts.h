// SPDX-License-Identifier: Apache-2.0
// The layouts of the covering array: every two values of {TP, CP, EP, ETP, PP, ZeRO of dense and of expert parameters,
// schedule, recomputation, dispatcher, type, model} stand in one of them, if any legal layout has both. Tests train
// them (covering_array_test.cpp); covering_plans.cpp writes them down, for who wants to predict them.
#pragma once

#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"
#include "tests/unit/executor/runtime/covering_array.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace orrery::executor::testing {

struct Layout {
  Strategy strategy;
  std::size_t model = 0;  // of those that were given
  std::int64_t world = 0;

  std::string text(std::span<const Model> models) const;
};

/// Names of the factors, in the order of a row.
const std::vector<std::string>& layout_factors();

/// The layout of a row on the fewest ranks that it fits, with two for each shard where something is sharded; nothing if
/// it is not legal on up to `most_ranks`, where a shard may be the whole.
std::optional<Layout> layout_of(const Row& row, std::span<const Model> models, const BatchShape& batch,
                                std::int64_t most_ranks = 8);

/// Of five models.
CoveringArray array_of_layouts(std::span<const Model> models, const BatchShape& batch, std::int64_t most_ranks = 8);

}  // namespace orrery::executor::testing
