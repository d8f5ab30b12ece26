// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <span>

// The gate on the shared experts of a layer: their output is scaled by sigmoid(x . w), one number for each token.
// Source: Qwen1.5-MoE (2024); Hugging Face, Qwen2MoeSparseMoeBlock.

namespace orrery::executor {

/// gate[t] = sigmoid(x[t] . w), out[t] *= gate[t]. x, out: (tokens, hidden); w: (1, hidden).
void shared_gate_forward(ConstMatrix x, ConstMatrix w, Matrix out, std::span<float> gate);

/// `out` is the scaled output. Writes dshared = dout * gate, adds the gate's gradient of x to dx and of w to dw.
void shared_gate_backward(ConstMatrix x, ConstMatrix w, ConstMatrix out, std::span<const float> gate, ConstMatrix dout,
                          Matrix dshared, Matrix dx, std::span<float> dw);

}  // namespace orrery::executor
