// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/sum.h"

#include "base/check.h"

#include <algorithm>
#include <cstring>

namespace orrery::executor {
namespace {

constexpr std::int64_t kBlock = 512;

struct Plus {
  template <class T>
  static T of(T a, T b) {
    return a + b;
  }
};

struct Largest {
  static float of(float a, float b) { return std::max(a, b); }
};

// Blocks stay in the first cache while all sources are added to them, and make it safe that the target is a source.
// Values are copied in and out since a message may stand at any address.
template <class T, class Sum = Plus>
void sum_blocks(std::span<const std::byte* const> sources, std::byte* target, std::int64_t count) {
  alignas(64) T sum[kBlock];
  alignas(64) T term[kBlock];
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t num_values = std::min(kBlock, count - first);
    const std::size_t bytes = static_cast<std::size_t>(num_values) * sizeof(T);
    const std::int64_t offset = first * static_cast<std::int64_t>(sizeof(T));
    std::memcpy(sum, sources[0] + offset, bytes);
    for (const std::byte* source : sources.subspan(1)) {
      std::memcpy(term, source + offset, bytes);
      for (std::int64_t i = 0; i < num_values; ++i) sum[i] = Sum::of(sum[i], term[i]);
    }
    std::memcpy(target + offset, sum, bytes);
  }
}

void sum_bf16_blocks(std::span<const std::byte* const> sources, std::byte* target, std::int64_t count) {
  alignas(64) float sum[kBlock];
  alignas(64) bf16 term[kBlock];
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t num_values = std::min(kBlock, count - first);
    const std::size_t bytes = static_cast<std::size_t>(num_values) * sizeof(bf16);
    const std::int64_t offset = first * static_cast<std::int64_t>(sizeof(bf16));
    std::fill_n(sum, num_values, 0.0F);
    for (const std::byte* source : sources) {
      std::memcpy(term, source + offset, bytes);
      for (std::int64_t i = 0; i < num_values; ++i) sum[i] += static_cast<float>(term[i]);
    }
    for (std::int64_t i = 0; i < num_values; ++i) term[i] = sum[i];
    std::memcpy(target + offset, term, bytes);
  }
}

}  // namespace

void sum_in_order(SumType type, std::span<const std::byte* const> sources, std::byte* target, std::int64_t count) {
  CHECK(!sources.empty());
  switch (type) {
    case SumType::f32:
      return sum_blocks<float>(sources, target, count);
    case SumType::f64:
      return sum_blocks<double>(sources, target, count);
    case SumType::int64:
      return sum_blocks<std::int64_t>(sources, target, count);
    case SumType::int128:
      return sum_blocks<Int128>(sources, target, count);
    case SumType::bf16:
      return sum_bf16_blocks(sources, target, count);
    case SumType::largest_f32:
      return sum_blocks<float, Largest>(sources, target, count);
  }
}

}  // namespace orrery::executor
