// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/adamw.h"

#include "executor/kernels/element.h"

#include <cmath>

namespace orrery::executor {

void adamw_update(const AdamWSettings& settings, std::int64_t step, float gradient_scale,
                  std::span<const float> gradient, std::span<float> first_moment, std::span<float> second_moment,
                  std::span<float> master, Matrix model) {
  const std::size_t size = gradient.size();
  CHECK(step >= 1, step);
  CHECK(first_moment.size() == size && second_moment.size() == size && master.size() == size, size, master.size());
  CHECK(model.rows == 1 && model.cols == static_cast<std::int64_t>(size), model.rows, model.cols, size);
  const auto correction = [step](float beta) {
    return static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(beta), static_cast<double>(step))));
  };
  const float correction1 = correction(settings.beta1);
  const float correction2 = correction(settings.beta2);
  const AdamWSettings s = settings;  // a copy, so that no store can be thought to change it
  const float* g = gradient.data();
  float* m = first_moment.data();
  float* v = second_moment.data();
  float* w = master.data();
  with_element(model.dtype, [&]<class T>(T) {
    T* copy = model.row<T>(0);
#pragma omp simd
    for (std::size_t i = 0; i < size; ++i) {
      const float clipped = g[i] * gradient_scale;
      m[i] = s.beta1 * m[i] + (1.0F - s.beta1) * clipped;
      v[i] = s.beta2 * v[i] + (1.0F - s.beta2) * clipped * clipped;
      const float direction = m[i] * correction1 / (std::sqrt(v[i] * correction2) + s.epsilon);
      w[i] -= s.learning_rate * (direction + s.weight_decay * w[i]);
      copy[i] = w[i];
    }
  });
}

}  // namespace orrery::executor
