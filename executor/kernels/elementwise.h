// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <vector>

// Element by element: residual additions and changes of storage type. Shapes of all arguments are equal. Sums of whole
// numbers (fixed_point.h) are added to each other and become f32, no more.

namespace orrery::executor {

/// out = a + b, rounded once; out may be a or b. Element types may differ.
void add(ConstMatrix a, ConstMatrix b, Matrix out);
/// out = a, in the element type of out; a plain copy when that is the type of a.
void convert(ConstMatrix a, Matrix out);
/// An f32 view of a: a itself, or its copy in `storage`.
ConstMatrix widened(ConstMatrix a, std::vector<float>& storage);
/// All elements of out become zero.
void fill_zero(Matrix out);

}  // namespace orrery::executor
