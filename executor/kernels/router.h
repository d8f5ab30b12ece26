// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/gemm.h"

#include <cstdint>
#include <span>

// The router of a mixture-of-experts layer, all in f32: logits, scores, the choice of the best k experts per token and
// their probabilities; its backward; and the two ways to balance experts, an auxiliary loss and a bias.
// Experts may be in groups, of which a token uses the best few: a group counts as much as its best expert, or with
// sigmoid scores as its two best ones together. Source: Hugging Face, "group_limited_greedy" of DeepSeek-V2 and
// "noaux_tc" of DeepSeek-V3; DeepSeek-V3 (arXiv 2412.19437), section 2.1.2.

namespace orrery::executor {

enum class RouterScore { softmax, sigmoid };

struct RouterShape {
  std::int64_t num_experts = 0;
  std::int64_t top_k = 0;
  RouterScore score = RouterScore::softmax;
  float temperature = 1.0F;            // divides the logits
  bool normalize_top_k = false;        // the k probabilities of a token are divided by their sum
  float routed_scaling_factor = 1.0F;  // multiplies the probabilities
  std::int64_t num_groups = 1;         // equal groups of neighbouring experts ...
  std::int64_t top_k_groups = 1;       // ... and how many of them a token may use
};

/// scores = softmax or sigmoid of (x w^T + bias) / temperature. x: (tokens, hidden) f32 or bf16; w: f32 (num_experts,
/// hidden); bias: num_experts, or empty; scores: f32 (tokens, num_experts), kept for the backward. Tokens are worked on
/// in blocks of `block` rows.
void router_scores(const Gemm& gemm, const RouterShape& shape, ConstMatrix x, ConstMatrix w,
                   std::span<const float> bias, std::int64_t block, Matrix scores);

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
/// dbias += the sum of dlogits over the tokens.
void router_bias_wgrad(ConstMatrix dlogits, std::span<float> dbias);
/// dw += dlogits^T x, in f32.
void router_wgrad(const Gemm& gemm, ConstMatrix dlogits, ConstMatrix x, Matrix dw);

}  // namespace orrery::executor
