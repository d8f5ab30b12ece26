// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/gemm.h"

#include <cstdint>
#include <span>

// The router of a mixture-of-experts layer, all in f32: logits, scores, the choice of the best k experts per token and
// their probabilities; its backward; and the two ways to balance experts, an auxiliary loss and a bias.
// Group-limited choice (node-limited routing) is not here.

namespace orrery::executor {

enum class RouterScore { softmax, sigmoid };

struct RouterShape {
  std::int64_t num_experts = 0;
  std::int64_t top_k = 0;
  RouterScore score = RouterScore::softmax;
  float temperature = 1.0F;            // divides the logits
  bool normalize_top_k = false;        // the k probabilities of a token are divided by their sum
  float routed_scaling_factor = 1.0F;  // multiplies the probabilities
};

/// scores = softmax or sigmoid of x w^T / temperature. x: (tokens, hidden) f32 or bf16; w: f32 (num_experts, hidden);
/// scores: f32 (tokens, num_experts), kept for the backward. Tokens are worked on in blocks of `block` rows.
void router_scores(const Gemm& gemm, const RouterShape& shape, ConstMatrix x, ConstMatrix w, std::int64_t block,
                   Matrix scores);

/// The top_k experts of each token by score + selection_bias (empty: no bias), best first, equals by lower index.
/// chosen, probability: (tokens, top_k) row-major; the bias has no part in the probability.
void router_choose(const RouterShape& shape, ConstMatrix scores, std::span<const float> selection_bias,
                   std::span<std::int32_t> chosen, std::span<float> probability);

/// The probabilities that belong to a choice: scores of the chosen experts, normalised and scaled as `shape` says.
void router_probabilities(const RouterShape& shape, ConstMatrix scores, std::span<const std::int32_t> chosen,
                          std::span<float> probability);
/// dlogits (tokens, num_experts, f32, of x w^T) = the gradient through the probabilities of the chosen experts, plus
/// `dscores` (empty, or tokens * num_experts) which comes from the auxiliary loss.
void router_backward(const RouterShape& shape, ConstMatrix scores, std::span<const std::int32_t> chosen,
                     std::span<const float> dprobability, std::span<const float> dscores, Matrix dlogits);

/// Writes dx = dlogits w, in the element type of dx, in blocks of `block` rows.
void router_igrad(const Gemm& gemm, ConstMatrix dlogits, ConstMatrix w, std::int64_t block, Matrix dx);
/// dw += dlogits^T x, in f32.
void router_wgrad(const Gemm& gemm, ConstMatrix dlogits, ConstMatrix x, Matrix dw);

}  // namespace orrery::executor
