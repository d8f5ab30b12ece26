// SPDX-License-Identifier: Apache-2.0
// What makes the operands of a product in fp8, beside the ops of the program: gradients arrive in bf16, and a tensor
// that two passes multiply is written twice, as it is and transposed, since fp8 is multiplied along rows
// (docs/design/kernels.md). A program's norms, activations and dispatches write one copy of what the forward
// multiplies.
#pragma once

#include "costmodel/kernel_model.h"
#include "program/op.h"
#include "program/work.h"

namespace orrery::costmodel {

struct CastTraffic {
  Bytes bytes{};
  bool own_kernel = false;  // else a kernel of the program moves them besides
};

bool multiplies_fp8(const OpShape& shape);

/// None for products in other types. `work`: of the op. `kernels`: `fused_experts`, whose kernel casts for all experts
/// of a rank, and `weight_gradients`, without which nothing is written transposed.
CastTraffic cast_traffic(const OpKey& key, const OpShape& shape, const Work& work, const KernelParameters& kernels);

}  // namespace orrery::costmodel
