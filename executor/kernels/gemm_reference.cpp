// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/gemm_backends.h"

#include <vector>

namespace orrery::executor {
namespace {

/// Rows of c one after the other; within a row the products of one k are added for all columns, k ascending.
void reference_f32(const GemmArgs& args) {
  const GemmSize size = product_size(args);
  thread_local std::vector<float> sums;
  for (std::int64_t i = 0; i < size.m; ++i) {
    sums.assign(static_cast<std::size_t>(size.n), 0.0F);
    for (std::int64_t k = 0; k < size.k; ++k) {
      const float left = args.transpose_a ? args.a.row<float>(k)[i] : args.a.row<float>(i)[k];
      const float* right = args.transpose_b ? args.b.row<float>(0) + k : args.b.row<float>(k);
      const std::int64_t step = args.transpose_b ? args.b.stride : 1;
      for (std::int64_t j = 0; j < size.n; ++j) sums[static_cast<std::size_t>(j)] += left * right[j * step];
    }
    float* out = args.c.row<float>(i);
    for (std::int64_t j = 0; j < size.n; ++j) {
      out[j] = (args.accumulate ? out[j] : 0.0F) + sums[static_cast<std::size_t>(j)];
    }
  }
}

}  // namespace

const Gemm& reference_gemm() {
  static constexpr Gemm kGemm = {"reference", [](const GemmArgs& args) { run_in_f32(args, reference_f32); },
                                 [] { return false; }};
  return kGemm;
}

}  // namespace orrery::executor
