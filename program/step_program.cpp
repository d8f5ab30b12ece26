// SPDX-License-Identifier: Apache-2.0
#include "program/step_program.h"

#include "base/check.h"
#include "program/work.h"

#include <array>
#include <string_view>

namespace orrery {
namespace {

constexpr std::array<std::string_view, kNumTensorRoles> kRoleNames = {
    "tokens",
    "labels",
    "x",
    "norm1",
    "q_latent",
    "q_latent_norm",
    "q",
    "kv_latent",
    "kv_latent_norm",
    "kv_up",
    "kv",
    "qkv",
    "qk",
    "attn_out",
    "lse",
    "proj",
    "x_mid",
    "norm2",
    "fc1",
    "act",
    "ffn_out",
    "scores",
    "choices",
    "send_rows",
    "send_probs",
    "expert_in",
    "expert_probs",
    "expert_fc1",
    "expert_act",
    "expert_out",
    "combined_rows",
    "moe_out",
    "shared_fc1",
    "shared_act",
    "shared_out",
    "shared_gate",
    "head_norm",
    "logits",
    "softmax",
    "d_x",
    "d_norm1",
    "d_q_latent",
    "d_q_latent_norm",
    "d_q",
    "d_kv_latent",
    "d_kv_latent_norm",
    "d_kv_up",
    "d_kv",
    "d_qkv",
    "d_attn_out",
    "d_x_mid",
    "d_norm2",
    "d_fc1",
    "d_act",
    "d_router_logits",
    "d_probs",
    "d_send_rows",
    "d_send_probs",
    "d_expert_in",
    "d_expert_probs",
    "d_expert_fc1",
    "d_expert_act",
    "d_expert_out",
    "d_combined_rows",
    "d_shared_fc1",
    "d_shared_act",
    "d_shared_out",
    "d_head_norm",
    "d_logits",
    "norm1_full",
    "q_latent_full",
    "kv_latent_full",
    "k_rope_full",
    "ring_kv",
    "ring_kv_next",
    "kv_full",
    "core_in",
    "core_out",
    "attn_operand",
    "proj_part",
    "norm2_full",
    "ffn_part",
    "shared_full",
    "shared_part",
    "recv_rows",
    "recv_scores",
    "recv_probs",
    "recv_choices",
    "gathered_in",
    "gathered_probs",
    "expert_part",
    "back_rows",
    "embed_part",
    "head_full",
    "mtp_tokens",
    "mtp_embed",
    "mtp_part",
    "mtp_pair",
    "logits_max",
    "d_proj",
    "d_norm1_part",
    "d_q_latent_part",
    "d_kv_latent_part",
    "d_k_rope_part",
    "ring_dkv_part",
    "ring_dkv",
    "d_kv_full",
    "d_core_in",
    "d_core_out",
    "d_ffn_out",
    "d_norm2_part",
    "d_shared_full",
    "d_shared_part",
    "d_back_rows",
    "d_recv_rows",
    "d_recv_probs",
    "d_expert_full",
    "d_gathered_probs",
    "d_gathered_in",
    "d_embed",
    "d_head_part",
    "d_mtp_pair",
    "d_mtp_embed",
    "grad_bucket",
    "expert_grad_bucket",
    "wire_grads",
    "expert_wire_grads",
    "layer_weights",
    "expert_layer_weights",
    "optimizer_states",
    "fc1_fp8",
    "expert_fc1_fp8",
    "shared_fc1_fp8",
};

}  // namespace

std::string_view name_of(TensorRole role) { return kRoleNames.at(static_cast<std::size_t>(role)); }

RankView StepProgram::view(RankId rank) const {
  const Coords coords = mesh.coords(rank);
  return {.rank = rank, .program_class = ClassId(static_cast<std::int32_t>(coords.pp)), .coords = coords};
}

const RankClass& StepProgram::class_of(RankId rank) const {
  return classes[static_cast<std::size_t>(view(rank).program_class.value())];
}

std::int64_t StepProgram::num_ops() const {
  std::int64_t count = 0;
  for (const RankClass& c : classes) count += static_cast<std::int64_t>(c.ops.size());
  return count;
}

double bytes_of(const Tensor& tensor, double received) {
  return resolve(tensor.rows, {.rows_per_expert = {}, .received = received}) * static_cast<double>(tensor.width) *
         static_cast<double>(size_of(tensor.dtype));
}

}  // namespace orrery
