// SPDX-License-Identifier: Apache-2.0
// Which function runs which op: one line for each (program/op_key.h). An op without a line has no function here, and
// cpu_unsupported() names what would need it.
#include "base/check.h"
#include "executor/runtime/op_call.h"
#include "executor/runtime/run_attention.h"
#include "executor/runtime/run_ends.h"
#include "executor/runtime/run_layers.h"
#include "executor/runtime/run_moe.h"
#include "executor/runtime/run_step_end.h"
#include "executor/runtime/run_tensor_parallel.h"

#include <array>

namespace orrery::executor {
namespace {

using C = OpCode;
using W = WeightRole;

template <W weight>
void linear(OpCall& call) {
  run_linear(call, weight);
}
template <W weight, W bias>
void linear(OpCall& call) {
  run_linear(call, weight, bias);
}
template <W weight>
void row_parallel(OpCall& call) {
  run_row_parallel(call, weight);
}
template <W weight, W bias>
void row_parallel(OpCall& call) {
  run_row_parallel(call, weight, bias);
}
template <W weight>
void norm(OpCall& call) {
  run_norm(call, weight);
}

struct Row {
  OpCode op;
  OpFunction function;
};

constexpr Row kRows[] = {
    {C::embed_lookup, run_lookup},
    {C::attn_norm, norm<W::attn_norm>},
    {C::attn_qkv, linear<W::qkv, W::qkv_bias>},
    {C::attn_q_down, linear<W::q_down>},
    {C::attn_q_norm, norm<W::q_latent_norm>},
    {C::attn_q_up, linear<W::q_up>},
    {C::attn_kv_down, linear<W::kv_down>},
    {C::attn_kv_norm, run_kv_latent_norm},
    {C::attn_kv_up, linear<W::kv_up>},
    {C::attn_qk_norm, run_qk_norm},
    {C::attn_rope, run_rope},
    {C::attn_core, run_attention_core},
    {C::attn_out, row_parallel<W::attn_out, W::attn_out_bias>},
    {C::attn_residual, run_sum},
    {C::mlp_norm, norm<W::mlp_norm>},
    {C::mlp_fc1, linear<W::mlp_fc1, W::mlp_fc1_bias>},
    {C::mlp_act, run_swiglu},
    {C::mlp_fc2, row_parallel<W::mlp_fc2, W::mlp_fc2_bias>},
    {C::mlp_residual, run_sum},
    {C::moe_norm, norm<W::moe_norm>},
    {C::moe_router, run_router},
    {C::moe_permute, run_permute},
    {C::moe_dispatch, run_dispatch},
    {C::moe_fc1, run_expert_fc1},
    {C::moe_act, run_expert_act},
    {C::moe_fc2, run_expert_fc2},
    {C::moe_combine, run_combine},
    {C::moe_unpermute, run_unpermute},
    {C::shared_fc1, linear<W::shared_fc1>},
    {C::shared_act, run_swiglu},
    {C::shared_fc2, row_parallel<W::shared_fc2>},
    {C::shared_gate, run_shared_gate},
    {C::moe_residual, run_sum},
    {C::head_norm, run_head_norm},
    {C::head_logits, linear<W::head>},
    {C::head_loss, run_loss},
    {C::dp_grad_rs, run_gradient_scatter},
    {C::dp_grad_ar, run_gradient_all_reduce},
    {C::edp_grad_rs, run_gradient_scatter},
    {C::edp_grad_ar, run_gradient_all_reduce},
    {C::moe_bias_counts, run_bias_counts},
    {C::norm_local, run_norm_local},
    {C::norm_reduce, run_norm_reduce},
    {C::adamw_dense, run_update},
    {C::adamw_expert, run_update},
    {C::moe_bias, run_bias_update},
    {C::dp_param_ag, run_weight_gather},
    {C::edp_param_ag, run_weight_gather},
    {C::tp_embed, run_tp_rows},
    {C::tp_attn_in, run_tp_rows},
    {C::tp_q_latent, run_tp_rows},
    {C::tp_kv_latent, run_tp_rows},
    {C::tp_k_rope, run_tp_rows},
    {C::tp_attn_out, run_tp_out},
    {C::tp_mlp_in, run_tp_rows},
    {C::tp_mlp_out, run_tp_out},
    {C::tp_shared_in, run_tp_rows},
    {C::tp_shared_out, run_tp_rows},
    {C::tp_head_in, run_tp_rows},
    {C::tp_loss_max, run_tp_loss_max},
    {C::tp_loss_sum, run_loss_sum},
    {C::tp_grad_ar, run_repeated_gradients},
    {C::cp_kv, run_cp_kv},
    {C::cp_dkv, run_cp_dkv},
    {C::cp_in, run_cp_exchange},
    {C::cp_out, run_cp_exchange},
    {C::etp_gather, run_etp_gather},
    {C::etp_scatter, run_etp_scatter},
    {C::head_max, run_head_max},
    {C::mtp_embed, run_mtp_lookup},
    {C::mtp_norm, run_mtp_norm},
    {C::mtp_proj, linear<W::mtp_projection>},
    {C::embed_grad_ar, run_shared_gradients},
    {C::dp_replica_ar, run_replica_all_reduce},
    {C::edp_replica_ar, run_replica_all_reduce},
    {C::dp_grad_cast, run_gradient_cast},
    {C::edp_grad_cast, run_gradient_cast},
    {C::muon_dense, run_muon},
    {C::muon_expert, run_muon},
    {C::opt_load, run_load_states},
    {C::opt_store, run_store_states},
    {C::act_load, run_load_activations},
    {C::act_store, run_store_activations},
};

constexpr std::array<OpFunction, kNumOpCodes> by_op() {
  std::array<OpFunction, kNumOpCodes> functions{};
  for (const Row& row : kRows) functions[static_cast<std::size_t>(row.op)] = row.function;
  return functions;
}

constexpr std::array<OpFunction, kNumOpCodes> kFunctions = by_op();

}  // namespace

OpFunction function_of(OpCode op) {
  const OpFunction function = kFunctions[static_cast<std::size_t>(op)];
  CHECK(function != nullptr, static_cast<int>(op));
  return function;
}

}  // namespace orrery::executor
