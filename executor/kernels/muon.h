// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/gemm.h"

#include <cstdint>
#include <span>

// Muon: momentum whose singular values are all brought near one before it moves a matrix. Source: Jordan et al., "Muon:
// an optimizer for hidden layers in neural networks" (2024), with its five Newton-Schulz iterations; steps are scaled
// as in Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982), eq. 4, so that one learning rate serves
// AdamW beside it. All in f32.

namespace orrery::executor {

struct MuonSettings {
  float learning_rate = 1e-3F;
  float momentum = 0.95F;
  float weight_decay = 0.0F;
};

/// momentum = settings.momentum * momentum + gradient * gradient_scale.
void muon_momentum(const MuonSettings& settings, float gradient_scale, std::span<const float> gradient,
                   std::span<float> momentum);

/// out = the orthogonalised x: its singular values become 0.7 to 1.2. x, out: f32 (rows, cols).
void orthogonalize(const Gemm& gemm, ConstMatrix x, Matrix out);

/// master -= learning_rate * (0.2 sqrt(max(rows, cols)) direction + weight_decay master); `model` becomes its rounded
/// copy. direction, master, model: (rows, cols).
void muon_update(const MuonSettings& settings, ConstMatrix direction, Matrix master, Matrix model);

}  // namespace orrery::executor
