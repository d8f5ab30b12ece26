// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/sum.h"

#include "base/check.h"
#include "executor/comm/shm_pieces.h"

#include <algorithm>
#include <cstring>
#include <vector>

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

/// From `before`, or zero where it is null. bf16 targets are rounded, f32 ones hold what is to be rounded later.
template <class Target>
void sum_bf16_blocks(const std::byte* before, std::span<const std::byte* const> sources, std::byte* target,
                     std::int64_t count) {
  alignas(64) float sum[kBlock];
  alignas(64) bf16 term[kBlock];
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t num_values = std::min(kBlock, count - first);
    const auto bytes_of = [&](std::size_t each) { return static_cast<std::size_t>(num_values) * each; };
    const auto offset_of = [&](std::size_t each) { return first * static_cast<std::int64_t>(each); };
    std::fill_n(sum, num_values, 0.0F);
    if (before != nullptr) std::memcpy(sum, before + offset_of(sizeof(float)), bytes_of(sizeof(float)));
    for (const std::byte* source : sources) {
      std::memcpy(term, source + offset_of(sizeof(bf16)), bytes_of(sizeof(bf16)));
      for (std::int64_t i = 0; i < num_values; ++i) sum[i] += static_cast<float>(term[i]);
    }
    if constexpr (std::same_as<Target, bf16>) {
      for (std::int64_t i = 0; i < num_values; ++i) term[i] = sum[i];
      std::memcpy(target + offset_of(sizeof(bf16)), term, bytes_of(sizeof(bf16)));
    } else {
      std::memcpy(target + offset_of(sizeof(float)), sum, bytes_of(sizeof(float)));
    }
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
      return sum_bf16_blocks<bf16>(nullptr, sources, target, count);
    case SumType::largest_f32:
      return sum_blocks<float, Largest>(sources, target, count);
  }
}

SumType partial_type_of(SumType type) { return type == SumType::bf16 ? SumType::f32 : type; }

void extend_sum(SumType type, const std::byte* before, std::span<const std::byte* const> sources, std::byte* target,
                std::int64_t count) {
  if (type == SumType::bf16) return sum_bf16_blocks<float>(before, sources, target, count);
  std::vector<const std::byte*> all;
  if (before != nullptr) all.push_back(before);
  all.insert(all.end(), sources.begin(), sources.end());
  sum_in_order(type, all, target, count);
}

void finish_sum(SumType type, const std::byte* partial, std::byte* target, std::int64_t count) {
  if (type != SumType::bf16) return copy_bytes(target, partial, count * size_of(type));
  for (std::int64_t i = 0; i < count; ++i) {
    float sum = 0.0F;
    std::memcpy(&sum, partial + i * static_cast<std::int64_t>(sizeof sum), sizeof sum);
    const bf16 rounded(sum);
    std::memcpy(target + i * static_cast<std::int64_t>(sizeof rounded), &rounded, sizeof rounded);
  }
}

}  // namespace orrery::executor
