// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/permute.h"

#include "executor/kernels/balance.h"
#include "executor/kernels/element.h"
#include "executor/kernels/elementwise.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <vector>

namespace orrery::executor {
namespace {

std::size_t row_bytes(ConstMatrix matrix) { return static_cast<std::size_t>(matrix.cols * size_of(matrix.dtype)); }

/// Slots per token.
std::int64_t slots_per_token(std::span<const std::int64_t> slots, ConstMatrix tokens, ConstMatrix rows) {
  CHECK(tokens.cols == rows.cols && tokens.dtype == rows.dtype, tokens.cols, rows.cols, name_of(tokens.dtype));
  if (tokens.rows == 0) return 0;
  const auto num_slots = static_cast<std::int64_t>(slots.size());
  CHECK(num_slots % tokens.rows == 0, num_slots, tokens.rows);
  return num_slots / tokens.rows;
}

/// Calls work(row as received, row after sorting, number of rows) for each (local expert, source rank).
template <class Work>
void for_each_segment(std::span<const std::int64_t> counts, std::int64_t num_local_experts, Work&& work) {
  const auto num_experts = static_cast<std::size_t>(num_local_experts);
  CHECK(num_experts > 0 && counts.size() % num_experts == 0, counts.size(), num_local_experts);
  thread_local std::vector<std::int64_t> first_received;
  first_received.resize(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), first_received.begin(), std::int64_t{0});
  std::int64_t sorted = 0;
  for (std::size_t expert = 0; expert < num_experts; ++expert) {
    for (std::size_t segment = expert; segment < counts.size(); segment += num_experts) {
      work(first_received[segment], sorted, counts[segment]);
      sorted += counts[segment];
    }
  }
}

void check_total(std::span<const std::int64_t> counts, ConstMatrix received, ConstMatrix sorted) {
  const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  CHECK(total == received.rows && total == sorted.rows, total, received.rows, sorted.rows);
}

}  // namespace

void send_slots(std::span<const std::int32_t> chosen, std::span<std::int64_t> counts, std::span<std::int64_t> slots) {
  CHECK(slots.size() == chosen.size(), slots.size(), chosen.size());
  std::fill(counts.begin(), counts.end(), 0);
  count_chosen(chosen, counts);
  thread_local std::vector<std::int64_t> next;
  next.resize(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), next.begin(), std::int64_t{0});
  for (std::size_t i = 0; i < chosen.size(); ++i) slots[i] = next[static_cast<std::size_t>(chosen[i])]++;
}

std::vector<std::uint8_t> kept_pairs(std::span<const std::int32_t> chosen, std::span<const float> probability,
                                     std::int64_t num_experts, std::int64_t capacity) {
  CHECK(chosen.size() == probability.size(), chosen.size(), probability.size());
  std::vector<std::size_t> order(chosen.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return probability[a] > probability[b]; });
  std::vector<std::int64_t> left(static_cast<std::size_t>(num_experts), capacity);
  std::vector<std::uint8_t> kept(chosen.size());
  for (const std::size_t pair : order) {
    std::int64_t& places = left[static_cast<std::size_t>(chosen[pair])];
    kept[pair] = places > 0 ? 1 : 0;
    if (places > 0) --places;
  }
  return kept;
}

void capacity_slots(std::span<const std::int32_t> chosen, std::span<const std::uint8_t> kept, std::int64_t capacity,
                    std::span<std::int64_t> slots) {
  CHECK(slots.size() == chosen.size() && kept.size() == chosen.size(), slots.size(), kept.size(), chosen.size());
  std::map<std::int32_t, std::int64_t> used;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    slots[i] = kept[i] == 0 ? -1 : chosen[i] * capacity + used[chosen[i]]++;
  }
}

void scatter_rows(ConstMatrix x, std::span<const std::int64_t> slots, Matrix out) {
  const std::int64_t top_k = slots_per_token(slots, x, out);
  // A capacity leaves places empty.
  const bool drops = std::find(slots.begin(), slots.end(), -1) != slots.end();
  if (drops || out.rows != static_cast<std::int64_t>(slots.size())) fill_zero(out);
  std::size_t slot = 0;
  for (std::int64_t token = 0; token < x.rows; ++token) {
    for (std::int64_t j = 0; j < top_k; ++j, ++slot) {
      if (slots[slot] >= 0) std::memcpy(out.at(slots[slot], 0), x.at(token, 0), row_bytes(x));
    }
  }
}

void combine_rows(ConstMatrix rows, std::span<const std::int64_t> slots, Matrix out) {
  const std::int64_t top_k = slots_per_token(slots, out, rows);
  thread_local std::vector<float> sums;
  sums.resize(static_cast<std::size_t>(out.cols));
  float* sum = sums.data();
  with_element(out.dtype, [&]<class T>(T) {
    std::size_t slot = 0;
    for (std::int64_t token = 0; token < out.rows; ++token) {
      std::memset(sum, 0, sums.size() * sizeof(float));
      for (std::int64_t j = 0; j < top_k; ++j) {
        const std::int64_t from = slots[slot++];
        if (from < 0) continue;
        const T* row = rows.row<T>(from);
#pragma omp simd
        for (std::int64_t i = 0; i < out.cols; ++i) sum[i] += static_cast<float>(row[i]);
      }
      T* result = out.row<T>(token);
#pragma omp simd
      for (std::int64_t i = 0; i < out.cols; ++i) result[i] = sum[i];
    }
  });
}

void scatter_values(std::span<const float> values, std::span<const std::int64_t> slots, std::span<float> out) {
  CHECK(values.size() == slots.size(), values.size(), slots.size());
  std::fill(out.begin(), out.end(), 0.0F);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i] >= 0) out[static_cast<std::size_t>(slots[i])] = values[i];
  }
}

void gather_values(std::span<const float> values, std::span<const std::int64_t> slots, std::span<float> out) {
  CHECK(out.size() == slots.size(), out.size(), slots.size());
  for (std::size_t i = 0; i < slots.size(); ++i) {
    out[i] = slots[i] < 0 ? 0.0F : values[static_cast<std::size_t>(slots[i])];
  }
}

void sort_by_expert(std::span<const std::int64_t> counts, std::int64_t num_local_experts, ConstMatrix received,
                    Matrix sorted) {
  check_total(counts, received, sorted);
  for_each_segment(counts, num_local_experts, [&](std::int64_t from, std::int64_t to, std::int64_t count) {
    convert(received.row_block(from, count), sorted.row_block(to, count));
  });
}

void unsort_by_expert(std::span<const std::int64_t> counts, std::int64_t num_local_experts, ConstMatrix sorted,
                      Matrix received) {
  check_total(counts, received, sorted);
  for_each_segment(counts, num_local_experts, [&](std::int64_t to, std::int64_t from, std::int64_t count) {
    convert(sorted.row_block(from, count), received.row_block(to, count));
  });
}

void expert_offsets(std::span<const std::int64_t> counts, std::int64_t num_local_experts,
                    std::span<std::int64_t> offsets) {
  CHECK(static_cast<std::int64_t>(offsets.size()) == num_local_experts + 1, offsets.size(), num_local_experts);
  std::fill(offsets.begin(), offsets.end(), 0);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    offsets[i % static_cast<std::size_t>(num_local_experts) + 1] += counts[i];
  }
  std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
}

}  // namespace orrery::executor
