// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

// Element by element: residual additions and changes of storage type. Shapes of all arguments are equal.

namespace orrery::executor {

/// out = a + b, rounded once; out may be a or b. Element types may differ.
void add(ConstMatrix a, ConstMatrix b, Matrix out);
/// out = a, in the element type of out.
void convert(ConstMatrix a, Matrix out);
/// All elements of out become zero.
void fill_zero(Matrix out);

}  // namespace orrery::executor
