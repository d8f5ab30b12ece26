// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <cstdint>
#include <span>

// Both ends of the model: the token embedding, and the cross-entropy loss over the logits of the head.
// A target is a token id; every position has one.

namespace orrery::executor {

/// out[t] = table[tokens[t]]. table: (vocabulary, hidden).
void embedding_forward(ConstMatrix table, std::span<const std::int32_t> tokens, Matrix out);
/// dtable[tokens[t]] += dout[t] in f32, tokens in ascending order, so repeated tokens add up in a fixed order.
void embedding_backward(ConstMatrix dout, std::span<const std::int32_t> tokens, Matrix dtable);

/// Sum over the rows of -log softmax(logits)[target], in f64.
double cross_entropy_forward(ConstMatrix logits, std::span<const std::int32_t> targets);
/// dlogits = (softmax(logits) - onehot(target)) * scale; dlogits may be the memory of logits.
/// The scale is 1 / (tokens of the global batch).
void cross_entropy_backward(ConstMatrix logits, std::span<const std::int32_t> targets, float scale, Matrix dlogits);

}  // namespace orrery::executor
