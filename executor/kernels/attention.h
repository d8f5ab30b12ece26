// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/gemm.h"

#include <cstdint>

// Causal grouped-query attention: softmax(q k^T / sqrt(head_dim)) v within each sequence. The probabilities are
// computed again in the backward from the saved logsumexp, as in Dao et al., "FlashAttention" (2022), algorithm 4; here
// in blocks of kAttentionBlock query rows against all the keys they may see, with two or five GEMMs per block.
// Each sequence is worked on alone, so its bits do not depend on the others of the micro-batch.

namespace orrery::executor {

inline constexpr std::int64_t kAttentionBlock = 128;

struct AttentionShape {
  std::int64_t sequence = 0;  // tokens per sequence; rows are whole sequences
  std::int64_t num_q_heads = 0;
  std::int64_t num_kv_heads = 0;  // divides num_q_heads
  std::int64_t head_dim = 0;

  std::int64_t qkv_width() const { return (num_q_heads + 2 * num_kv_heads) * head_dim; }
  std::int64_t out_width() const { return num_q_heads * head_dim; }
};

/// qkv: (tokens, qkv_width), rows of all q heads, then all k heads, then all v heads, already turned by RoPE;
/// out: (tokens, out_width); logsumexp: f32 (tokens, num_q_heads), kept for the backward.
void attention_forward(const Gemm& gemm, const AttentionShape& shape, ConstMatrix qkv, Matrix out, Matrix logsumexp);

/// dqkv from dout; both in the element type of qkv.
void attention_backward(const Gemm& gemm, const AttentionShape& shape, ConstMatrix qkv, ConstMatrix logsumexp,
                        ConstMatrix dout, Matrix dqkv);

}  // namespace orrery::executor
