// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

// Sums of gradients that do not depend on their order: an element is a whole multiple of 2^-50, held in 64 bits.
// Rounding happens once, where a term becomes such a number; after that integers are added, which do not mind in which
// order, by whom and in how many steps. A unit of 9e-16 is 1e-7 of the epsilon below which AdamW sees no gradient, and
// what an f32 resolves of a gradient of 1e-8. The numbers reach 2^13, which one term may not come near.

namespace orrery::executor {

inline constexpr double kFixedPointUnit = 0x1p-50;
/// All terms of a sum together have to stay below this.
inline constexpr double kFixedPointLimit = 0x1p12;

/// sum += terms, each rounded to the nearest multiple of the unit, ties to even. sum: i64, terms: f32.
/// Returns whether all terms were numbers below `limit` in size; if not, the sum is of no use.
bool add_fixed_point(ConstMatrix terms, double limit, Matrix sum);
/// out = a + b; all i64, out may be a or b.
void add_whole_numbers(ConstMatrix a, ConstMatrix b, Matrix out);
/// out = the numbers that `sums` stand for, each rounded once. sums: i64, out: f32.
void from_fixed_point(ConstMatrix sums, Matrix out);

}  // namespace orrery::executor
