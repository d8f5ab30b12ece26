// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/strategy.h"

#include <cstdint>

namespace orrery {

/// Numbers of rows that a rank tells another for each of its experts, beside the rows of an all-to-all: one; or one for
/// each sequence where gradients are whole numbers, whose terms are those of sequences (docs/design/reproducible.md).
inline std::int64_t row_counts_of_expert(const Strategy& strategy) {
  return strategy.grad_dtype == DType::i64 ? strategy.micro_batch : 1;
}

}  // namespace orrery
