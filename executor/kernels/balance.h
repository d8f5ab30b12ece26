// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/router.h"

#include <cstdint>
#include <span>
#include <vector>

// The two ways to keep experts equally busy. The auxiliary loss of one sequence of T tokens is
//   num_experts * sum_i f_i P_i,  f_i = (tokens that chose i) / (T top_k),  P_i = mean score of i over the tokens,
// where sigmoid scores are first divided by their sum over the experts. It is taken per sequence, so it does not depend
// on the layout. Source: Fedus et al., "Switch Transformers" (2021), eq. 4; DeepSeek-V3 report (2024), eq. 17 to 20.
// The bias enters the choice only. Source: Wang et al., "Auxiliary-Loss-Free Load Balancing" (2024), algorithm 1.

namespace orrery::executor {

/// How often the tokens of each sequence chose each expert. Of a sequence that several ranks share, the counts are
/// those of all its tokens, while rows are the ones here.
struct SequenceCounts {
  std::int64_t rows = 0;             // of each sequence that are here
  std::int64_t tokens = 0;           // of each whole sequence
  std::vector<std::int64_t> counts;  // (sequences, num_experts)
};

/// The counts of `rows` rows a sequence, as if that were all of it. chosen: (tokens, top_k).
SequenceCounts count_by_sequence(const RouterShape& shape, std::span<const std::int32_t> chosen, std::int64_t rows);

/// Sum over the sequences of scale * loss, as defined above; of what is here of them.
double auxiliary_loss(const RouterShape& shape, ConstMatrix scores, const SequenceCounts& counts, double scale);

/// Adds the gradient of auxiliary_loss with respect to the scores to dscores (tokens * num_experts).
void auxiliary_loss_backward(const RouterShape& shape, ConstMatrix scores, const SequenceCounts& counts, double scale,
                             std::span<float> dscores);

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
