// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <cstdint>
#include <span>
#include <string_view>

// Matrix multiplication behind a function table with three back ends:
//   reference  the sum over k in ascending order, one product at a time: for tests
//   eigen      always there, one thread; bf16 is widened to f32 (Eigen's own bf16 is five times slower than its f32)
//   onednn     when it was found at configure time; bf16 natively where the CPU can, else widened as above
// Sums are always f32. A model's result depends on the back end in the last bits, so a run uses one of them throughout.
// A row of the result has the same bits in every product whose number of rows is a multiple of 16.

namespace orrery::executor {

/// c = op(a) * op(b), or c += op(a) * op(b); op is the identity or the transpose.
struct GemmArgs {
  ConstMatrix a;  // op(a) is (m, k)
  ConstMatrix b;  // op(b) is (k, n); same element type as a
  Matrix c;       // (m, n); f32, or the type of a
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  // needs an f32 c
};

struct Gemm {
  std::string_view name;
  void (*run)(const GemmArgs& args);
  bool (*native_bf16)();  // false: bf16 operands are widened to f32 first
};

/// The back ends of this build, best first.
std::span<const Gemm* const> available_gemms();

/// The back end called `name`; an empty name asks the environment variable ORRERY_GEMM, then takes the best.
/// Throws: ConfigError when there is no such back end in this build.
const Gemm& choose_gemm(std::string_view name = {});

/// Threads that oneDNN may use in GEMMs started from this thread; everything else uses one. The launcher gives cores /
/// ranks.
void set_num_threads(int num_threads);

// The three products of a linear layer. The weight w is (num_outputs, num_inputs), as PyTorch stores it.

/// y = x w^T. x: (rows, num_inputs), y: (rows, num_outputs).
void linear_forward(const Gemm& gemm, ConstMatrix x, ConstMatrix w, Matrix y);
/// dx = dy w.
void linear_igrad(const Gemm& gemm, ConstMatrix dy, ConstMatrix w, Matrix dx);
/// dw += dy^T x, in f32.
void linear_wgrad(const Gemm& gemm, ConstMatrix dy, ConstMatrix x, Matrix dw);

}  // namespace orrery::executor
