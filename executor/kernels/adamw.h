// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <cstdint>
#include <span>

// AdamW on f32 master weights. Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019),
// algorithm 2. An element's update depends on that element alone, so shards may be cut anywhere.

namespace orrery::executor {

struct AdamWSettings {
  float learning_rate = 1e-3F;
  float beta1 = 0.9F;
  float beta2 = 0.95F;
  float epsilon = 1e-8F;
  float weight_decay = 0.0F;
};

/// One update: gradient * gradient_scale (clipping) enters the moments, then master changes and `model` (1, size), f32
/// or bf16, becomes its rounded copy. `step` counts from 1. All spans have the size of `model`.
void adamw_update(const AdamWSettings& settings, std::int64_t step, float gradient_scale,
                  std::span<const float> gradient, std::span<float> first_moment, std::span<float> second_moment,
                  std::span<float> master, Matrix model);

}  // namespace orrery::executor
