// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/initialize.h"

#include "base/fnv.h"
#include "base/rng.h"
#include "executor/kernels/element.h"

namespace orrery::executor {
namespace {

template <class ValueAt>
void fill(Matrix out, ValueAt&& value_at) {
  with_element(out.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < out.rows; ++row) {
      T* values = out.row<T>(row);
      for (std::int64_t i = 0; i < out.cols; ++i) values[i] = value_at(row * out.cols + i);
    }
  });
}

}  // namespace

void initialize_normal(std::uint64_t seed, std::string_view name, std::int64_t first_index, float deviation,
                       Matrix out) {
  const CounterRng random(seed, fnv1a(name));
  fill(out, [&](std::int64_t index) {
    return static_cast<float>(random.normal(static_cast<std::uint64_t>(first_index + index))) * deviation;
  });
}

void initialize_constant(float value, Matrix out) {
  fill(out, [value](std::int64_t) { return value; });
}

}  // namespace orrery::executor
