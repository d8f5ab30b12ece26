// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/router.h"

#include <cstdint>
#include <span>

// The two ways to keep experts equally busy. The auxiliary loss of one sequence of T tokens is
//   num_experts * sum_i f_i P_i,  f_i = (tokens that chose i) / (T top_k),  P_i = mean score of i over the tokens,
// where sigmoid scores are first divided by their sum over the experts. It is taken per sequence, so it does not depend
// on the layout. Source: Fedus et al., "Switch Transformers" (2021), eq. 4; DeepSeek-V3 report (2024), eq. 17 to 20.
// The bias enters the choice only. Source: Wang et al., "Auxiliary-Loss-Free Load Balancing" (2024), algorithm 1.

namespace orrery::executor {

/// Sum over the sequences of scale * loss, as defined above. Requires: scores.rows is a multiple of `sequence`.
double auxiliary_loss(const RouterShape& shape, ConstMatrix scores, std::span<const std::int32_t> chosen,
                      std::int64_t sequence, double scale);

/// Adds the gradient of auxiliary_loss with respect to the scores to dscores (tokens * num_experts).
void auxiliary_loss_backward(const RouterShape& shape, ConstMatrix scores, std::span<const std::int32_t> chosen,
                             std::int64_t sequence, double scale, std::span<float> dscores);

/// A choice that gives every expert the same number of tokens (to within one) whatever the scores: tokens in a random
/// order, a function of `stream` alone, take experts in turn. What benchmarks call forced load balancing.
/// chosen: (tokens, top_k).
void choose_balanced(std::int64_t num_experts, std::int64_t top_k, std::uint64_t stream,
                     std::span<std::int32_t> chosen);
/// Adds the number of times each expert was chosen to counts (num_experts).
void count_chosen(std::span<const std::int32_t> chosen, std::span<std::int64_t> counts);

/// bias += rate * sign(mean count - count); once per optimizer step, with the counts of all ranks.
void update_selection_bias(std::span<const std::int64_t> counts, float rate, std::span<float> bias);

}  // namespace orrery::executor
