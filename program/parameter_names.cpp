// SPDX-License-Identifier: Apache-2.0
#include "base/enum_names.h"
#include "program/parameters.h"

#include <string_view>

#include <fmt/format.h>

namespace orrery {
namespace {

// Names below "layers.N." ("layers.N.experts.M." for the experts), or whole names outside of layers.
constexpr Named<WeightRole> kWeightNames[] = {
    {"embedding", WeightRole::embedding},
    {"positions", WeightRole::positions},
    {"mtp_embedding_norm", WeightRole::mtp_embedding_norm},
    {"mtp_hidden_norm", WeightRole::mtp_hidden_norm},
    {"mtp_projection", WeightRole::mtp_projection},
    {"attn_norm", WeightRole::attn_norm},
    {"qkv", WeightRole::qkv},
    {"qkv_bias", WeightRole::qkv_bias},
    {"q_norm", WeightRole::q_norm},
    {"k_norm", WeightRole::k_norm},
    {"q_down", WeightRole::q_down},
    {"q_latent_norm", WeightRole::q_latent_norm},
    {"q_up", WeightRole::q_up},
    {"kv_down", WeightRole::kv_down},
    {"kv_latent_norm", WeightRole::kv_latent_norm},
    {"kv_up", WeightRole::kv_up},
    {"sinks", WeightRole::sinks},
    {"attn_out", WeightRole::attn_out},
    {"attn_out_bias", WeightRole::attn_out_bias},
    {"mlp_norm", WeightRole::mlp_norm},
    {"mlp_fc1", WeightRole::mlp_fc1},
    {"mlp_fc1_bias", WeightRole::mlp_fc1_bias},
    {"mlp_fc2", WeightRole::mlp_fc2},
    {"mlp_fc2_bias", WeightRole::mlp_fc2_bias},
    {"moe_norm", WeightRole::moe_norm},
    {"router", WeightRole::router},
    {"router_linear_bias", WeightRole::router_linear_bias},
    {"router_bias", WeightRole::router_bias},
    {"fc1", WeightRole::expert_fc1},
    {"fc1_bias", WeightRole::expert_fc1_bias},
    {"fc2", WeightRole::expert_fc2},
    {"fc2_bias", WeightRole::expert_fc2_bias},
    {"shared_fc1", WeightRole::shared_fc1},
    {"shared_fc2", WeightRole::shared_fc2},
    {"shared_gate", WeightRole::shared_gate},
    {"mtp_final_norm", WeightRole::mtp_final_norm},
    {"final_norm", WeightRole::final_norm},
    {"head", WeightRole::head},
};

}  // namespace

std::string name_of(const Parameter& parameter) {
  const std::string_view name = name_of(kWeightNames, parameter.role);
  if (parameter.layer < 0) return std::string(name);
  if (parameter.is_expert()) return fmt::format("layers.{}.experts.{}.{}", parameter.layer, parameter.expert, name);
  return fmt::format("layers.{}.{}", parameter.layer, name);
}

}  // namespace orrery
