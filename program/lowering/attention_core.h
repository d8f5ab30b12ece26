// SPDX-License-Identifier: Apache-2.0
// Softmax attention between the projections, alone or over a context-parallel group: the one place that knows how
// keys and values travel. Sequences are dealt in zigzag order (rank i of c holds chunks i and 2c - 1 - i), so that
// causal work is the same on every rank and in every round.
//   ring        (arXiv 2310.01889): keys and values pass once around the group, one round of attention for each rank
//   all_gather  (Llama 3, arXiv 2407.21783): they are gathered at once, and their gradients scattered
//   ulysses     (arXiv 2309.14509): heads are exchanged for sequence, attention itself is whole
#pragma once

#include "program/lowering/rules.h"
#include "program/lowering/tensor_parallel.h"

#include <cstdint>
#include <vector>

namespace orrery::lowering {

/// What a kind of attention hands over, all of this TP rank.
struct AttentionCore {
  std::int64_t heads = 0, kv_heads = 0, d_qk = 0, d_v = 0;
  AttentionSpan span;
  std::vector<TensorRole> inputs;  // that hold queries, keys and values
  /// Gradients of the inputs, created in this order with these widths.
  struct Gradient {
    TensorRole role;
    std::int64_t width = 0;
  };
  std::vector<Gradient> gradients;
  TensorRole d_kv = TensorRole::d_qkv;  // of them, the one that holds those of keys and values

  std::int64_t q_width() const { return heads * d_qk; }
  std::int64_t kv_width() const { return kv_heads * (d_qk + d_v); }
  std::int64_t out_width() const { return heads * d_v; }
};

/// What follows the core forward, the output projection and the residual, and what ends the backward: the norm.
void add_attention_ends(const RuleContext& context, const RowParallel& out, BlockRules& rules);

/// From the inputs to `attn_out` and its logsumexp; and from `d_attn_out` to the gradients.
void add_attention_core(const RuleContext& context, const AttentionCore& core, BlockRules& rules);

}  // namespace orrery::lowering
