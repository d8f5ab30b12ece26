// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/gemm.h"

// What the files of the GEMM back ends share with each other; not for callers of GEMMs.

namespace orrery::executor {

const Gemm& reference_gemm();
const Gemm& eigen_gemm();
/// Null in a build without oneDNN.
const Gemm* onednn_gemm();

struct GemmSize {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
};

/// The size of a product, after a CHECK that shapes and element types agree.
GemmSize product_size(const GemmArgs& args);

/// Runs `gemm_f32` on f32 copies of whatever operand is not f32, and rounds the result once.
void run_in_f32(const GemmArgs& args, void (*gemm_f32)(const GemmArgs& args));

}  // namespace orrery::executor
