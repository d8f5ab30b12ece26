// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <cstdint>
#include <span>
#include <vector>

// Rotary position embedding on packed q, k, v rows. Element i of the first half of a head is paired with element i of
// the second half (the "rotate half" layout of Hugging Face models) and turned by position * theta^(-2i/head_dim).
// Source: Su et al., "RoFormer" (2021), eq. 34; scaled variants (YaRN, linear) are not here.

namespace orrery::executor {

/// Cosines and sines of all positions of a sequence; built once per model.
class RopeTable {
 public:
  /// Requires: an even head_dim.
  RopeTable(std::int64_t sequence, std::int64_t head_dim, double theta);

  std::int64_t sequence() const { return sequence_; }
  std::int64_t half_dim() const { return half_dim_; }
  const float* cosines(std::int64_t position) const { return cosines_.data() + position * half_dim_; }
  const float* sines(std::int64_t position) const { return sines_.data() + position * half_dim_; }

 private:
  std::int64_t sequence_;
  std::int64_t half_dim_;
  std::vector<float> cosines_, sines_;
};

/// Which columns of a row are turned: heads of 2 half_dim() elements, `stride` apart, from column `first` on.
struct RopeHeads {
  std::int64_t num_heads = 0;
  std::int64_t first = 0;
  std::int64_t stride = 0;
};

/// Turns heads of each row in place. Row i stands at positions[i mod size]: rows are whole sequences, or the same part
/// of each. In rows of q, k, v the heads to turn are those of q and k: num_heads = num_q_heads + num_kv_heads.
void rope_forward(const RopeTable& table, std::span<const std::int64_t> positions, const RopeHeads& heads, Matrix rows);
/// Turns a gradient back by the same angles.
void rope_backward(const RopeTable& table, std::span<const std::int64_t> positions, const RopeHeads& heads,
                   Matrix rows);

}  // namespace orrery::executor
