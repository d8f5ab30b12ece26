// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "executor/kernels/gemm.h"

#include <cstdint>
#include <span>

// Causal attention: softmax(q k^T / sqrt(d_qk)) v within each sequence, grouped or latent, over all earlier keys or a
// window of them. The probabilities are computed again in the backward from the saved logsumexp, as in Dao et al.,
// "FlashAttention" (2022), algorithm 4; here in blocks of kAttentionBlock query rows against all the keys they may see,
// with two or five GEMMs per block. Each sequence is worked on alone, so its bits do not depend on the others of the
// micro-batch. Queries and keys say where they stand, so that they may be different parts of a sequence (context
// parallelism); results over parts of the keys are put together by `merge_attention`.

namespace orrery::executor {

inline constexpr std::int64_t kAttentionBlock = 128;

struct AttentionDims {
  std::int64_t num_q_heads = 0;
  std::int64_t num_kv_heads = 0;  // divides num_q_heads
  std::int64_t d_qk = 0, d_v = 0;
  std::int64_t window = 0;  // keys that a query sees, itself included; 0: all before it
  bool chunked = false;     // the window is a block of the sequence and does not slide (Llama 4)
};

/// Positions of the queries and keys of a sequence, each ascending; their rows repeat for each sequence.
struct AttentionPositions {
  std::span<const std::int64_t> queries, keys;
};

/// Rows of queries, and of keys and values, each with all its heads side by side: columns of one tensor or of several.
template <class View>
struct QkvRows {
  View q, k, v;  // (rows, num_q_heads d_qk), (rows, num_kv_heads d_qk), (rows, num_kv_heads d_v)
};

/// out: (query rows, num_q_heads d_v); logsumexp: f32 (query rows, num_q_heads), kept for the backward; -infinity and
/// zeros for a query without a key. `sinks`: a logit for each query head that joins its softmax (empty: none).
void attention_forward(const Gemm& gemm, const AttentionDims& dims, const AttentionPositions& positions,
                       const QkvRows<ConstMatrix>& in, std::span<const float> sinks, Matrix out, Matrix logsumexp);

/// Gradients of queries, keys and values from that of `out`, all in the type of the inputs. `out` and `logsumexp` are
/// those over all keys, also where `in` has a part of them. `adds_to_q`: dq is added to what is there.
void attention_backward(const Gemm& gemm, const AttentionDims& dims, const AttentionPositions& positions,
                        const QkvRows<ConstMatrix>& in, ConstMatrix out, ConstMatrix logsumexp, ConstMatrix dout,
                        bool adds_to_q, const QkvRows<Matrix>& gradients);

/// Adds the gradients of the sinks: of each head, -sum over the rows of e^(sink - logsumexp) (dout . out).
void attention_sink_backward(std::span<const float> sinks, ConstMatrix out, ConstMatrix logsumexp, ConstMatrix dout,
                             std::span<float> dsinks);

/// Puts `part`, attention over other keys, into `out` and `logsumexp`.
void merge_attention(ConstMatrix part, ConstMatrix part_logsumexp, Matrix out, Matrix logsumexp);

}  // namespace orrery::executor
