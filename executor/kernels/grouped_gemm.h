// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/gemm.h"

#include <cstdint>
#include <span>

// The linear layers of all local experts at once. Rows are sorted by expert: rows offsets[i] .. offsets[i+1] belong to
// expert i. Weights of all experts lie in one matrix, one below the other: (num_experts * num_outputs, num_inputs).
// The number of rows of an expert changes with every micro-batch. Each expert is therefore cut into full blocks of
// kGroupedBlock rows and one rest that is padded with zeros to a multiple of kGroupedPad, so that a GEMM library sees
// few shapes (creating a oneDNN primitive costs 350 us) and a row's bits do not depend on how many rows come with it.

namespace orrery::executor {

inline constexpr std::int64_t kGroupedBlock = 256;
inline constexpr std::int64_t kGroupedPad = 16;

/// y = x w_i^T for the rows of each expert i. Requires: offsets ascend from 0 to x.rows.
void grouped_forward(const Gemm& gemm, ConstMatrix x, ConstMatrix w, std::span<const std::int64_t> offsets, Matrix y);
/// dx = dy w_i for the rows of each expert i.
void grouped_igrad(const Gemm& gemm, ConstMatrix dy, ConstMatrix w, std::span<const std::int64_t> offsets, Matrix dx);
/// dw_i += dy_i^T x_i, in f32; the order of the sum depends on the rows of expert i alone.
void grouped_wgrad(const Gemm& gemm, ConstMatrix dy, ConstMatrix x, std::span<const std::int64_t> offsets, Matrix dw);

}  // namespace orrery::executor
