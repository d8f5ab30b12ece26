// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/initialize.h"

#include "base/rng.h"
#include "executor/kernels/element.h"

namespace orrery::executor {
namespace {

/// FNV-1a, 64 bits (Fowler, Noll, Vo): turns a tensor's name into its stream of random numbers.
std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char letter : name) hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3U;
  return hash;
}

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
  const CounterRng random(seed, hash_of(name));
  fill(out, [&](std::int64_t index) {
    return static_cast<float>(random.normal(static_cast<std::uint64_t>(first_index + index))) * deviation;
  });
}

void initialize_constant(float value, Matrix out) {
  fill(out, [value](std::int64_t) { return value; });
}

}  // namespace orrery::executor
