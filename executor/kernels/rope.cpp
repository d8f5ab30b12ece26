// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/rope.h"

#include "executor/kernels/element.h"

#include <cmath>

namespace orrery::executor {
namespace {

/// Turns the pairs (head[i], head[half + i]); direction -1 turns back.
template <class T>
void turn_head(const float* cosines, const float* sines, float direction, std::int64_t half, T* head) {
#pragma omp simd
  for (std::int64_t i = 0; i < half; ++i) {
    const float x = static_cast<float>(head[i]);
    const float y = static_cast<float>(head[half + i]);
    const float sine = direction * sines[i];
    head[i] = x * cosines[i] - y * sine;
    head[half + i] = y * cosines[i] + x * sine;
  }
}

void turn(const RopeTable& table, std::span<const std::int64_t> positions, const RopeHeads& heads, float direction,
          Matrix rows) {
  const std::int64_t half = table.half_dim();
  const auto per_sequence = static_cast<std::int64_t>(positions.size());
  CHECK(per_sequence > 0 && rows.rows % per_sequence == 0, rows.rows, per_sequence);
  CHECK(heads.num_heads == 0 || heads.first + (heads.num_heads - 1) * heads.stride + 2 * half <= rows.cols,
        heads.num_heads, heads.first, heads.stride, half, rows.cols);
  with_element(rows.dtype, [&]<class T>(T) {
    for (std::int64_t row = 0; row < rows.rows; ++row) {
      const std::int64_t position = positions[static_cast<std::size_t>(row % per_sequence)];
      T* first = rows.row<T>(row) + heads.first;
      for (std::int64_t head = 0; head < heads.num_heads; ++head) {
        turn_head(table.cosines(position), table.sines(position), direction, half, first + head * heads.stride);
      }
    }
  });
}

}  // namespace

RopeTable::RopeTable(std::int64_t sequence, std::int64_t head_dim, double theta)
    : sequence_(sequence), half_dim_(head_dim / 2) {
  CHECK(sequence > 0 && head_dim > 0 && head_dim % 2 == 0, sequence, head_dim);
  cosines_.reserve(static_cast<std::size_t>(sequence * half_dim_));
  sines_.reserve(static_cast<std::size_t>(sequence * half_dim_));
  for (std::int64_t position = 0; position < sequence; ++position) {
    for (std::int64_t i = 0; i < half_dim_; ++i) {
      const double frequency = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      cosines_.push_back(static_cast<float>(std::cos(static_cast<double>(position) * frequency)));
      sines_.push_back(static_cast<float>(std::sin(static_cast<double>(position) * frequency)));
    }
  }
}

void rope_forward(const RopeTable& table, std::span<const std::int64_t> positions, const RopeHeads& heads,
                  Matrix rows) {
  turn(table, positions, heads, 1.0F, rows);
}

void rope_backward(const RopeTable& table, std::span<const std::int64_t> positions, const RopeHeads& heads,
                   Matrix rows) {
  turn(table, positions, heads, -1.0F, rows);
}

}  // namespace orrery::executor
