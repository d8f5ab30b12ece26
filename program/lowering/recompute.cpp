// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/stage_program.h"

#include <algorithm>
#include <initializer_list>

namespace orrery::lowering {
namespace {

void add_ops(const BlockRules& block, std::initializer_list<OpCode> ops, std::vector<const OpRule*>& out) {
  for (const OpRule& rule : block.fwd) {
    if (std::find(ops.begin(), ops.end(), rule.op) != ops.end()) out.push_back(&rule);
  }
}

void add_all(const BlockRules& block, std::vector<const OpRule*>& out) {
  for (const OpRule& rule : block.fwd) out.push_back(&rule);
}

/// All but the residual: its input x_mid is kept and its output belongs to the next layer.
void add_module(const BlockRules& block, std::vector<const OpRule*>& out) {
  for (const OpRule& rule : block.fwd) {
    if (rule.op != OpCode::mlp_residual && rule.op != OpCode::moe_residual) out.push_back(&rule);
  }
}

}  // namespace

// What each module drops and runs again, its collectives included: Megatron-LM, --recompute-modules; a recomputed
// module runs its forward as a whole, outputs that nobody needs included, as an activation checkpoint does.
RecomputeRules recompute_rules(const std::set<RecomputeModule>& modules, LayerKind kind, const BlockRules& attention,
                               const BlockRules& ffn) {
  RecomputeRules out;
  const auto has = [&](RecomputeModule module) { return modules.contains(module); };
  if (has(RecomputeModule::full)) {
    add_all(attention, out.before_ffn);
    add_module(ffn, out.before_ffn);
    return out;
  }
  const bool whole_ffn = has(kind == LayerKind::moe ? RecomputeModule::moe : RecomputeModule::mlp);
  if (whole_ffn) {
    add_module(ffn, out.before_ffn);
  } else {
    if (has(RecomputeModule::layernorm)) add_ops(ffn, {OpCode::mlp_norm, OpCode::moe_norm}, out.before_ffn);
    if (has(RecomputeModule::shared_experts)) {
      add_ops(ffn,
              {OpCode::tp_shared_in, OpCode::shared_fc1, OpCode::shared_act_quant, OpCode::shared_act,
               OpCode::shared_fc2, OpCode::tp_shared_out, OpCode::shared_gate},
              out.before_ffn);
    }
    if (has(RecomputeModule::moe_act)) add_ops(ffn, {OpCode::moe_act}, out.before_ffn);
  }
  if (has(RecomputeModule::layernorm)) add_ops(attention, {OpCode::attn_norm}, out.before_attention);
  if (has(RecomputeModule::mla_up_proj)) {
    // Queries without a latent come from the gathered norm, which is not kept either.
    add_ops(attention,
            {OpCode::tp_attn_in, OpCode::tp_q_latent, OpCode::attn_q_up, OpCode::tp_kv_latent, OpCode::attn_kv_up,
             OpCode::tp_k_rope, OpCode::attn_rope},
            out.before_attention);
  }
  if (has(RecomputeModule::core_attn)) {
    add_ops(attention, {OpCode::cp_kv, OpCode::cp_in, OpCode::attn_core, OpCode::cp_out}, out.before_attention);
    out.kept.insert(TensorRole::attn_out);  // saved as the input of the output projection
  }
  return out;
}

}  // namespace orrery::lowering
