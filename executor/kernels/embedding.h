// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/matrix.h"

#include <cstdint>
#include <span>

// Both ends of the model: the token embedding, and the cross-entropy loss over the logits of the head.
// A target is a token id; every position has one.

namespace orrery::executor {

/// Tokens [first, first + size) of a vocabulary of `total`, whose rows a rank holds.
struct VocabularyPart {
  std::int64_t first = 0, size = 0, total = 0;
  bool has(std::int32_t token) const { return token >= first && token < first + size; }
};

/// out[t] = table[tokens[t]], or zero where another rank has the token. table: (part.size, hidden).
void embedding_forward(ConstMatrix table, const VocabularyPart& part, std::span<const std::int32_t> tokens, Matrix out);
/// dtable[tokens[t]] += dout[t] in f32, tokens in ascending order, so repeated tokens add up in a fixed order.
void embedding_backward(ConstMatrix dout, const VocabularyPart& part, std::span<const std::int32_t> tokens,
                        Matrix dtable);

/// Sum over the rows of -log softmax(logits)[target], in f64.
double cross_entropy_forward(ConstMatrix logits, std::span<const std::int32_t> targets);
/// dlogits = (softmax(logits) - onehot(target)) * scale; dlogits may be the memory of logits.
/// The scale is 1 / (tokens of the global batch).
void cross_entropy_backward(ConstMatrix logits, std::span<const std::int32_t> targets, float scale, Matrix dlogits);

// The same over parts of the vocabulary: each rank makes its sums, the sums of all ranks are added up.

/// largest[t] = the largest logit of row t. largest: f32 (rows, 1).
void largest_logits(ConstMatrix logits, Matrix largest);
/// shifted = logits - largest, row by row, in f32.
void shift_logits(ConstMatrix logits, ConstMatrix largest, Matrix shifted);
/// sums[2 t] = the sum of e^shifted over row t, sums[2 t + 1] = its target's entry where the part has it, else 0.
void cross_entropy_part(ConstMatrix shifted, const VocabularyPart& part, std::span<const std::int32_t> targets,
                        std::span<float> sums);
/// From the sums of all ranks the loss of all rows; shifted becomes the logarithm of the softmax.
double cross_entropy_finish(std::span<const float> sums, Matrix shifted);
/// dlogits = (e^log_softmax - onehot(target)) * scale.
void cross_entropy_backward_part(ConstMatrix log_softmax, const VocabularyPart& part,
                                 std::span<const std::int32_t> targets, float scale, Matrix dlogits);

}  // namespace orrery::executor
