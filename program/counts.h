// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/model.h"
#include "program/strategy.h"

#include <cstdint>

// Exact parameter counts and model FLOPs. Published "active" parameters follow no common convention, so each is named.
// Conventions and checks: docs/design/counts.md.

namespace orrery {

struct ParameterCounts {
  std::int64_t total = 0;                      // weights and router-bias buffers, without MTP modules
  std::int64_t buffers = 0;                    // router biases in `total`
  std::int64_t active = 0;                     // top_k instead of all experts; everything else, buffers excluded
  std::int64_t active_no_input_embedding = 0;  // learned positions are input embedding; a tied matrix is the head
  std::int64_t active_no_embedding_no_head = 0;
  std::int64_t mtp = 0;         // weights of all MTP modules, which share embedding and head with the model
  std::int64_t mtp_active = 0;  // of these, with top_k experts
};

ParameterCounts parameter_counts(const Model& model);

/// Prediction modules that are trained.
constexpr std::int64_t num_mtp_modules(const Model& model, Mtp mtp) {
  return mtp == Mtp::on ? model.num_mtp_modules : 0;
}

/// Training FLOPs per token at sequence length `seq`, both conventions.
/// causal: attention over the keys that the mask leaves, the diagonal counted half, so that a full span is seq / 2
/// (Megatron-LM's num_floating_point_operations, router not counted; unlike it, windows and chunks are respected).
/// noncausal: attention over all seq keys in every layer, router, norms and biases counted (torchtitan).
/// The prediction modules of the model are counted with `mtp`, as Megatron-LM does; torchtitan has none.
struct FlopsPerToken {
  double causal = 0.0;
  double noncausal = 0.0;
};

/// Requires: seq >= 1.
FlopsPerToken training_flops_per_token(const Model& model, std::int64_t seq, Mtp mtp = Mtp::off);

}  // namespace orrery
