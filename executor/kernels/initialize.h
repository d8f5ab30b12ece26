// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <cstdint>
#include <string_view>

// Initial weights as a pure function of (seed, global tensor name, index in the whole tensor). A rank that holds any
// part of a tensor fills it with the numbers every other layout would have there.

namespace orrery::executor {

/// Elements of the tensor `name` from `first_index` on, drawn from a normal distribution with mean 0.
void initialize_normal(std::uint64_t seed, std::string_view name, std::int64_t first_index, float deviation,
                       Matrix out);
/// All elements of out become `value` (norm weights start at 1).
void initialize_constant(float value, Matrix out);

}  // namespace orrery::executor
