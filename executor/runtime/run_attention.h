// SPDX-License-Identifier: Apache-2.0
// Attention between its projections: norms and rotation of heads, softmax attention, and how keys and values travel in
// a context-parallel group (program/lowering/attention_core.h). The two kinds of attention differ in where queries,
// keys and values lie, and in nothing else.
#pragma once

#include "executor/kernels/attention.h"
#include "executor/runtime/op_call.h"

namespace orrery::executor {

/// Heads and widths of this TP rank; `share`: over how many ranks heads are divided beside.
AttentionDims attention_dims(const OpCall& call, std::int64_t share = 1);
/// Queries, keys and values among the op's uses, and their gradients.
QkvRows<Matrix> qkv_of(const OpCall& call);
QkvRows<Matrix> qkv_gradients_of(const OpCall& call);
/// Keys beside values in one tensor, as they travel.
QkvRows<Matrix> keys_and_values(const AttentionDims& dims, const Matrix& rows);

void run_qk_norm(OpCall& call);
void run_rope(OpCall& call);
/// Attention in every form: whole, a round of a ring, over gathered keys, over a share of the heads.
void run_attention_core(OpCall& call);

// Latent attention.
void run_kv_latent_norm(OpCall& call);
void run_latent_rope(OpCall& call);

// Context parallelism.
void run_cp_kv(OpCall& call);
void run_cp_dkv(OpCall& call);
void run_cp_exchange(OpCall& call);

}  // namespace orrery::executor
