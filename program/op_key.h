// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// The name of an op, the same in every interpreter and every trace: what predicted and measured spans are joined on.
// Written  "step" ["/mb"N] "/stage"S ["/layer"L | "/embed" | "/head"] "/" pass "/" op ["." "b" N]
// for example  step/mb3/stage2/layer17/fwd/moe.dispatch.
// Rank and step number are columns of a span and no part of the key.

namespace orrery {

enum class Pass : std::uint8_t {
  fwd,     // forward
  rec,     // forward again, because its activations were dropped
  igrad,   // gradient of the input
  wgrad,   // gradient of a weight
  sync,    // gradients and norm across ranks
  update,  // optimizer step
};

/// Every op that a host can enqueue. A new op is a line here and in op_key.cpp.
enum class OpCode : std::uint8_t {
  embed_lookup,
  attn_norm,
  attn_qkv,     // GQA
  attn_q_down,  // MLA from here
  attn_q_norm,
  attn_q_up,
  attn_kv_down,
  attn_kv_norm,
  attn_kv_up,
  attn_qk_norm,  // GQA of some families
  attn_rope,     // both
  attn_core,
  attn_out,
  attn_residual,
  mlp_norm,
  mlp_fc1,
  mlp_act,
  mlp_fc2,
  mlp_residual,
  moe_norm,
  moe_router,
  moe_permute,
  moe_dispatch,
  moe_fc1,
  moe_act,
  moe_fc2,
  moe_combine,
  moe_unpermute,
  shared_fc1,
  shared_act,
  shared_fc2,
  shared_gate,
  moe_residual,
  head_norm,
  head_logits,
  head_loss,
  pp_send_act,
  pp_recv_act,
  pp_send_grad,
  pp_recv_grad,
  dp_grad_rs,   // dense gradients: reduce-scatter (ZeRO) ...
  dp_grad_ar,   // ... or all-reduce
  edp_grad_rs,  // the same for expert gradients
  edp_grad_ar,
  moe_bias_counts,  // all-reduce of tokens per expert for the aux-free bias
  norm_local,       // squares of this rank's gradient shard
  norm_reduce,      // their sum over all ranks, with the loss
  adamw_dense,
  adamw_expert,
  moe_bias,  // update of the aux-free bias
  dp_param_ag,
  edp_param_ag,
  // Collectives of tensor parallelism, named after the place: forward, backward and again for weight gradients.
  tp_embed,
  tp_attn_in,
  tp_q_latent,  // MLA
  tp_kv_latent,
  tp_k_rope,
  tp_attn_out,
  tp_mlp_in,
  tp_mlp_out,
  tp_shared_in,
  tp_shared_out,
  tp_head_in,
  tp_loss_max,
  tp_loss_sum,
  tp_grad_ar,  // gradients of weights that all TP ranks hold
  // Context parallelism: keys and values (ring, all-gather), their gradients, and the exchange of heads (Ulysses).
  cp_kv,
  cp_dkv,
  cp_in,
  cp_out,
  etp_gather,  // rows of the experts' TP group, and their way back
  etp_scatter,
  attn_quant,  // fp8 operand of the output projection
  head_max,    // of this rank's part of the vocabulary
  mtp_embed,   // multi-token prediction: embedding of the next tokens ...
  mtp_norm,    // ... its norm and that of the hidden states, side by side
  mtp_proj,
  embed_grad_ar,  // gradients of a matrix that the first and the last stage hold
  dp_replica_ar,  // hybrid sharding: gradient shards over the optimizer instances
  edp_replica_ar,
  dp_grad_cast,  // gradients to the type in which they travel
  edp_grad_cast,
  muon_dense,  // orthogonalisation of momentum matrices
  muon_expert,
  opt_load,  // optimizer states from the host, and back
  opt_store,
  act_load,  // saved activations from the host, and there
  act_store,
  mlp_act_quant,  // fp8 input of the activation function
  moe_act_quant,
  shared_act_quant,
};
inline constexpr int kNumOpCodes = static_cast<int>(OpCode::shared_act_quant) + 1;

struct OpKey {
  static constexpr std::int16_t kNoLayer = -1;
  static constexpr std::int16_t kEmbed = -2;
  static constexpr std::int16_t kHead = -3;

  std::int32_t micro_batch = -1;  // -1: once a step
  std::int16_t stage = 0;         // virtual stage, 0..p*v-1
  std::int16_t layer = kNoLayer;  // global layer, or one of the constants above
  Pass pass = Pass::fwd;
  OpCode op = OpCode::embed_lookup;
  std::int16_t bucket = -1;  // gradient bucket, -1: not bucketed

  auto operator<=>(const OpKey&) const = default;
};

std::string_view name_of(Pass pass);
/// Dotted name, for example "moe.dispatch".
std::string_view name_of(OpCode op);
std::optional<OpCode> op_code_of(std::string_view name);
/// Whether it sends to other ranks. A copy between host and device does not.
bool is_communication(OpCode op);

std::string to_string(const OpKey& key);
/// The key written as `text`, or nothing if it is not in the grammar above.
std::optional<OpKey> parse_op_key(std::string_view text);

}  // namespace orrery
