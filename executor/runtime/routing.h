// SPDX-License-Identifier: Apache-2.0
// What the routers of this rank decided, as far as other ops need it before or beside the saved tensors: how many rows
// go to and come from each expert in a layer and micro-batch.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace orrery::executor {

/// Routing of one micro-batch in one layer.
struct RoutedBatch {
  std::vector<float> probability;            // (tokens, top_k), from the router until the permute
  std::vector<std::int64_t> send_counts;     // rows per global expert that leave this rank
  std::vector<std::int64_t> receive_counts;  // rows per (source rank, local expert)
  std::vector<std::int64_t> offsets;         // first row of each local expert, and the end

  std::int64_t received() const { return offsets.empty() ? 0 : offsets.back(); }
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
