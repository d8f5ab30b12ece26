// SPDX-License-Identifier: Apache-2.0
// The outer half of a search space: every way of cutting the operators of a layer, whatever pipeline it runs in.
#pragma once

#include "planner/domains.h"

#include <cstdint>
#include <vector>

namespace orrery::planner {

struct OperatorChoices {
  /// Each with one stage, 1F1B and no overlap; legal on the smallest number of devices that holds it.
  std::vector<Strategy> legal;
  std::int64_t num_illegal = 0;
};

/// All of `domains`, in the order of its dimensions; without CUDA graphs and with one instance of the optimizer.
/// Choices that are another way to write an earlier one are left out: kinds of context parallelism without it,
/// dispatchers without expert parallelism.
OperatorChoices operator_choices(const Model& model, const Domains& domains, const BatchShape& batch,
                                 std::int64_t num_devices);

}  // namespace orrery::planner
