// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/sum.h"

#include <array>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

TEST(SumInOrder, AddsFromTheFirstSourceToTheLast) {
  // In any other order the small term would survive.
  const std::array<float, 3> terms = {1.0e8F, 1.0F, -1.0e8F};
  const std::array sources = {reinterpret_cast<const std::byte*>(&terms[0]),
                              reinterpret_cast<const std::byte*>(&terms[1]),
                              reinterpret_cast<const std::byte*>(&terms[2])};
  float sum = 7.0F;
  sum_in_order(SumType::f32, sources, reinterpret_cast<std::byte*>(&sum), 1);
  EXPECT_EQ(sum, 0.0F);
}

TEST(SumInOrder, KeepsTheSignOfASingleNegativeZero) {
  const double value = -0.0;
  const std::array sources = {reinterpret_cast<const std::byte*>(&value)};
  double sum = 1.0;
  sum_in_order(SumType::f64, sources, reinterpret_cast<std::byte*>(&sum), 1);
  EXPECT_TRUE(std::signbit(sum));
}

TEST(SumInOrder, TheTargetMayBeAnySourceAndValuesMayStandAtAnyAddress) {
  constexpr std::int64_t kCount = 1500;  // three blocks
  std::array<std::array<std::byte, kCount * 8 + 1>, 2> memory;
  for (int target = 0; target < 2; ++target) {
    for (std::size_t source = 0; source < 2; ++source) {
      for (std::int64_t i = 0; i < kCount; ++i) {
        const std::int64_t value = source == 0 ? i : 1'000'000 * i;
        std::memcpy(memory[source].data() + 1 + i * 8, &value, 8);
      }
    }
    const std::array<const std::byte*, 2> sources = {memory[0].data() + 1, memory[1].data() + 1};
    std::byte* sums = memory[static_cast<std::size_t>(target)].data() + 1;
    sum_in_order(SumType::int64, sources, sums, kCount);
    for (std::int64_t i = 0; i < kCount; ++i) {
      std::int64_t sum = 0;
      std::memcpy(&sum, sums + i * 8, 8);
      ASSERT_EQ(sum, 1'000'001 * i);
    }
  }
}

TEST(SumInOrder, AddsBf16InF32AndRoundsOnce) {
  // Rounded after each step, the small terms would be lost.
  const std::array<bf16, 3> terms = {bf16(256.0F), bf16(1.0F), bf16(1.0F)};
  const std::array sources = {reinterpret_cast<const std::byte*>(&terms[0]),
                              reinterpret_cast<const std::byte*>(&terms[1]),
                              reinterpret_cast<const std::byte*>(&terms[2])};
  bf16 sum;
  sum_in_order(SumType::bf16, sources, reinterpret_cast<std::byte*>(&sum), 1);
  EXPECT_EQ(static_cast<float>(sum), 258.0F);
}

TEST(SumInOrder, KeepsTheLargestWhereNoSumIsMeant) {
  const std::array<float, 3> terms = {-3.0F, 2.0F, 1.0F};
  const std::array sources = {reinterpret_cast<const std::byte*>(&terms[0]),
                              reinterpret_cast<const std::byte*>(&terms[1]),
                              reinterpret_cast<const std::byte*>(&terms[2])};
  float largest = 0.0F;
  sum_in_order(SumType::largest_f32, sources, reinterpret_cast<std::byte*>(&largest), 1);
  EXPECT_EQ(largest, 2.0F);
}

/// A sum of seven terms in two or three places, against the same at once.
template <class T>
void expect_same_in_parts(SumType type, std::size_t first_end, std::size_t second_end) {
  constexpr std::size_t kCount = 1500, kTerms = 7;
  std::array<std::vector<T>, kTerms> terms;
  std::vector<const std::byte*> sources;
  for (std::size_t term = 0; term < kTerms; ++term) {
    for (std::size_t i = 0; i < kCount; ++i)
      terms[term].push_back(static_cast<T>(std::sin(static_cast<float>(term * kCount + i)) * 1000.0F));
    sources.push_back(reinterpret_cast<const std::byte*>(terms[term].data()));
  }
  std::vector<T> whole(kCount), finished(kCount);
  const auto bytes_of = [](std::vector<T>& values) { return reinterpret_cast<std::byte*>(values.data()); };
  sum_in_order(type, sources, bytes_of(whole), kCount);
  const auto partial_bytes = kCount * static_cast<std::size_t>(size_of(partial_type_of(type)));
  std::vector<std::byte> one(partial_bytes), two(partial_bytes), three(partial_bytes);
  const std::span<const std::byte* const> all(sources);
  extend_sum(type, nullptr, all.first(first_end), one.data(), kCount);
  extend_sum(type, one.data(), all.subspan(first_end, second_end - first_end), two.data(), kCount);
  extend_sum(type, two.data(), all.subspan(second_end), three.data(), kCount);
  finish_sum(type, three.data(), bytes_of(finished), kCount);
  EXPECT_EQ(std::memcmp(whole.data(), finished.data(), kCount * sizeof(T)), 0) << first_end << " " << second_end;
}

TEST(SumInOrder, GoesOnInAnotherPlaceWithTheSameBits) {
  for (const auto& [first, second] : {std::pair<std::size_t, std::size_t>{2, 5}, {1, 2}, {4, 6}}) {
    expect_same_in_parts<float>(SumType::f32, first, second);
    expect_same_in_parts<double>(SumType::f64, first, second);
    expect_same_in_parts<bf16>(SumType::bf16, first, second);
    expect_same_in_parts<std::int64_t>(SumType::int64, first, second);
    expect_same_in_parts<float>(SumType::largest_f32, first, second);
  }
}

}  // namespace
}  // namespace orrery::executor
