// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <span>

// SwiGLU activation between the two products of a feed-forward block: out = silu(a) * c * p. Each row of the first
// product holds a then c. In an expert p is the row's routing probability (scaling here instead of after the combine
// saves keeping the expert's output); a dense block passes no p.
// Source: Shazeer, "GLU Variants Improve Transformer" (2020), eq. 6.

namespace orrery::executor {

/// gate_up: (rows, 2 width), out: (rows, width), probability: one per row, or empty for 1.
void swiglu_forward(ConstMatrix gate_up, std::span<const float> probability, Matrix out);

/// Writes dgate_up and, where probability is not empty, dprobability.
void swiglu_backward(ConstMatrix gate_up, std::span<const float> probability, ConstMatrix dout, Matrix dgate_up,
                     std::span<float> dprobability);

/// The variation of GPT-OSS: out = a' sigmoid(alpha a') (c' + 1) p, where a' = a but at most `limit`, and c' = c but
/// between -limit and limit; no gradient passes where they were cut. Shapes are those of SwiGLU.
/// Source: OpenAI, gpt-oss model card (2025), section 2.2, and the code published with the weights.
struct ClampedSwiglu {
  float alpha = 1.702F;
  float limit = 7.0F;

  void forward(ConstMatrix gate_up, std::span<const float> probability, Matrix out) const;
  void backward(ConstMatrix gate_up, std::span<const float> probability, ConstMatrix dout, Matrix dgate_up,
                std::span<float> dprobability) const;
};

}  // namespace orrery::executor
