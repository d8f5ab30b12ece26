// SPDX-License-Identifier: Apache-2.0
// What the routers of this rank decided, as far as other ops need it before or beside the saved tensors: how many rows
// go to and come from each expert in a layer and micro-batch.
#pragma once

#include "executor/kernels/balance.h"

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace orrery::executor {

/// Rows that arrive at a rank in one layer and micro-batch, in the words of program/op.h.
struct ArrivedCounts {
  std::int64_t received = 0, gathered = 0, distinct = 0;
};

/// Tokens that leave a rank, once for each rank that has one of their experts.
struct SentTokens {
  std::vector<std::int64_t> tokens;  // of the micro-batch, rank by rank, ascending
  std::vector<std::int64_t> counts;  // per rank
};

/// Routing of one micro-batch in one layer.
struct RoutedBatch {
  std::vector<float> probability;                     // (tokens, top_k), from the router until rows leave
  SequenceCounts sequence_counts;                     // of which the auxiliary loss is made
  std::vector<std::int64_t> send_counts;              // rows that leave this rank, by position of the expert
  std::vector<std::int64_t> receive_counts;           // rows per (source rank, local expert)
  std::vector<std::int64_t> sequence_rows;            // per (local expert, source rank, sequence), if these are terms
  std::vector<std::int64_t> offsets;                  // first row of each local expert as they compute, and the end
  std::vector<std::vector<std::int64_t>> etp_counts;  // receive_counts of each rank of the ETP group
  SentTokens sent;                                    // where tokens travel, and not pairs ...
  std::vector<std::int64_t> tokens_from;              // ... and how many come from each rank
  /// Of each computed row, for models whose experts have a bias: its probability, as long as gradients need it, and
  /// what the bias adds to the probability's gradient.
  std::vector<float> bias_factor, bias_gradient;
  std::vector<std::uint8_t> kept;  // (tokens, top_k): 0 where an expert had no place for the token
  ArrivedCounts arrived;
};

class Routing {
 public:
  RoutedBatch& at(std::int64_t layer, std::int64_t micro_batch) { return batches_[{layer, micro_batch}]; }
  const std::map<std::pair<std::int64_t, std::int64_t>, RoutedBatch>& batches() const { return batches_; }
  void clear() { batches_.clear(); }

 private:
  std::map<std::pair<std::int64_t, std::int64_t>, RoutedBatch> batches_;  // by layer and micro-batch
};

/// The experts that each token chose, best first, from the saved map: choices[t][e] is 0, or j + 1 where e was the
/// token's j-th choice. Shape (tokens, top_k).
std::vector<std::int32_t> chosen_of(std::span<const std::uint8_t> choices, std::int64_t num_experts,
                                    std::int64_t top_k);
/// The inverse.
void write_choices(std::span<const std::int32_t> chosen, std::int64_t num_experts, std::int64_t top_k,
                   std::span<std::uint8_t> choices);

}  // namespace orrery::executor
