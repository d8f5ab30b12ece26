// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/gemm.h"

#include "base/check.h"
#include "base/errors.h"
#include "executor/kernels/elementwise.h"
#include "executor/kernels/gemm_backends.h"

#include <cstdlib>
#include <string>
#include <vector>

#include <omp.h>

namespace orrery::executor {

std::span<const Gemm* const> available_gemms() {
  static const std::vector<const Gemm*> all = [] {
    std::vector<const Gemm*> gemms = {&eigen_gemm(), &reference_gemm()};
    if (onednn_gemm() != nullptr) gemms.insert(gemms.begin(), onednn_gemm());
    return gemms;
  }();
  return all;
}

const Gemm& choose_gemm(std::string_view name) {
  std::string origin = "GEMM back end";
  if (name.empty()) {
    const char* variable = std::getenv("ORRERY_GEMM");
    if (variable == nullptr || *variable == '\0') return *available_gemms().front();
    name = variable;
    origin = "ORRERY_GEMM";
  }
  std::string expected;
  for (const Gemm* gemm : available_gemms()) {
    if (gemm->name == name) return *gemm;
    expected += (expected.empty() ? "" : ", ") + std::string(gemm->name);
  }
  throw ConfigError(origin + ": expected one of " + expected + ", got \"" + std::string(name) + "\"");
}

void set_num_threads(int num_threads) {
  CHECK(num_threads >= 1, num_threads);
  omp_set_num_threads(num_threads);
}

GemmSize product_size(const GemmArgs& args) {
  const auto& [a, b, c, transpose_a, transpose_b, accumulate] = args;
  const GemmSize size{c.rows, c.cols, transpose_a ? a.rows : a.cols};
  CHECK((transpose_a ? a.cols : a.rows) == size.m, a.rows, a.cols, c.rows, transpose_a);
  CHECK((transpose_b ? b.rows : b.cols) == size.n, b.rows, b.cols, c.cols, transpose_b);
  CHECK((transpose_b ? b.cols : b.rows) == size.k, b.rows, b.cols, size.k, transpose_b);
  CHECK(a.dtype == b.dtype, name_of(a.dtype), name_of(b.dtype));
  CHECK(c.dtype == a.dtype || c.dtype == DType::f32, name_of(c.dtype), name_of(a.dtype));
  CHECK(!accumulate || c.dtype == DType::f32, name_of(c.dtype));
  return size;
}

void run_in_f32(const GemmArgs& args, void (*gemm_f32)(const GemmArgs& args)) {
  product_size(args);
  thread_local std::vector<float> a_storage, b_storage, c_storage;
  GemmArgs wide = args;
  wide.a = widened(args.a, a_storage);
  wide.b = widened(args.b, b_storage);
  if (args.c.dtype != DType::f32) {
    c_storage.resize(static_cast<std::size_t>(args.c.rows * args.c.cols));
    wide.c = matrix_of(c_storage.data(), args.c.rows, args.c.cols);
  }
  gemm_f32(wide);
  if (args.c.dtype != DType::f32) convert(wide.c, args.c);
}

void linear_forward(const Gemm& gemm, ConstMatrix x, ConstMatrix w, Matrix y) {
  gemm.run({.a = x, .b = w, .c = y, .transpose_b = true});
}

void linear_igrad(const Gemm& gemm, ConstMatrix dy, ConstMatrix w, Matrix dx) { gemm.run({.a = dy, .b = w, .c = dx}); }

void linear_wgrad(const Gemm& gemm, ConstMatrix dy, ConstMatrix x, Matrix dw) {
  gemm.run({.a = dy, .b = x, .c = dw, .transpose_a = true, .accumulate = true});
}

}  // namespace orrery::executor
