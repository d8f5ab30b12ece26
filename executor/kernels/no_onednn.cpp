// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/gemm_backends.h"

namespace orrery::executor {

const Gemm* onednn_gemm() { return nullptr; }

}  // namespace orrery::executor
