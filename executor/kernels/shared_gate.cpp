// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/shared_gate.h"

#include "executor/kernels/dot.h"
#include "executor/kernels/element.h"

#include <cmath>

namespace orrery::executor {
namespace {

void check_shapes(ConstMatrix x, ConstMatrix w, ConstMatrix out, std::span<const float> gate) {
  CHECK(x.rows == out.rows && x.cols == w.cols && out.cols == x.cols, x.rows, x.cols, w.cols, out.rows);
  CHECK(x.dtype == w.dtype && x.dtype == out.dtype, name_of(x.dtype), name_of(w.dtype), name_of(out.dtype));
  CHECK(static_cast<std::int64_t>(gate.size()) == x.rows, gate.size(), x.rows);
}

}  // namespace

void shared_gate_forward(ConstMatrix x, ConstMatrix w, Matrix out, std::span<float> gate) {
  check_shapes(x, w, out, gate);
  with_element(x.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < x.rows; ++row) {
      const float scale = 1.0F / (1.0F + std::exp(-dot(x.row<T>(row), w.row<T>(0), x.cols)));
      gate[static_cast<std::size_t>(row)] = scale;
      T* values = out.row<T>(row);
#pragma omp simd
      for (std::int64_t i = 0; i < out.cols; ++i) values[i] = static_cast<float>(values[i]) * scale;
    }
  });
}

void shared_gate_backward(ConstMatrix x, ConstMatrix w, ConstMatrix out, std::span<const float> gate, ConstMatrix dout,
                          Matrix dshared, Matrix dx, std::span<float> dw) {
  check_shapes(x, w, out, gate);
  CHECK(static_cast<std::int64_t>(dw.size()) == w.cols, dw.size(), w.cols);
  with_element(x.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < x.rows; ++row) {
      const float scale = gate[static_cast<std::size_t>(row)];
      // With s the output before the gate g: dg = dout . s and s = out / g, so dlogit = dg g (1 - g) as below.
      const float dlogit = dot(dout.row<T>(row), out.row<T>(row), out.cols) * (1.0F - scale);
      const T* input = x.row<T>(row);
      const T* weight = w.row<T>(0);
      const T* gradient = dout.row<T>(row);
      T* shared = dshared.row<T>(row);
      T* sum = dx.row<T>(row);
#pragma omp simd
      for (std::int64_t i = 0; i < x.cols; ++i) {
        shared[i] = static_cast<float>(gradient[i]) * scale;
        sum[i] = static_cast<float>(sum[i]) + dlogit * static_cast<float>(weight[i]);
        dw[static_cast<std::size_t>(i)] += dlogit * static_cast<float>(input[i]);
      }
    }
  });
}

}  // namespace orrery::executor
