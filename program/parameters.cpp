// SPDX-License-Identifier: Apache-2.0
#include "program/parameters.h"

#include "base/check.h"
#include "base/enum_names.h"

#include <string_view>

#include <fmt/format.h>

namespace orrery {
namespace {

// Names below "layers.N." ("layers.N.experts.M." for the experts), or whole names outside of layers.
constexpr Named<WeightRole> kWeightNames[] = {
    {"embedding", WeightRole::embedding},
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
    {"attn_out", WeightRole::attn_out},
    {"mlp_norm", WeightRole::mlp_norm},
    {"mlp_fc1", WeightRole::mlp_fc1},
    {"mlp_fc2", WeightRole::mlp_fc2},
    {"moe_norm", WeightRole::moe_norm},
    {"router", WeightRole::router},
    {"router_bias", WeightRole::router_bias},
    {"fc1", WeightRole::expert_fc1},
    {"fc2", WeightRole::expert_fc2},
    {"shared_fc1", WeightRole::shared_fc1},
    {"shared_fc2", WeightRole::shared_fc2},
    {"shared_gate", WeightRole::shared_gate},
    {"final_norm", WeightRole::final_norm},
    {"head", WeightRole::head},
};

Split split_of(WeightRole role) {
  switch (role) {
    case WeightRole::embedding:  // by vocabulary
    case WeightRole::q_up:
    case WeightRole::kv_up:
    case WeightRole::mlp_fc1:
    case WeightRole::expert_fc1:
    case WeightRole::shared_fc1:
    case WeightRole::head:  // by vocabulary
      return Split::rows;
    case WeightRole::attn_out:
    case WeightRole::mlp_fc2:
    case WeightRole::expert_fc2:
    case WeightRole::shared_fc2:
      return Split::cols;
    case WeightRole::qkv:
    case WeightRole::qkv_bias:
      return Split::kv_rows;
    case WeightRole::attn_norm:
    case WeightRole::q_norm:
    case WeightRole::k_norm:
    case WeightRole::q_down:
    case WeightRole::q_latent_norm:
    case WeightRole::kv_down:
    case WeightRole::kv_latent_norm:
    case WeightRole::mlp_norm:
    case WeightRole::moe_norm:
    case WeightRole::router:
    case WeightRole::router_bias:
    case WeightRole::shared_gate:
    case WeightRole::final_norm:
      return Split::none;
  }
  CHECK(false, static_cast<int>(role));
}

/// Appends parameters of one layer in global tensor order.
class LayerWriter {
 public:
  LayerWriter(const Model& model, std::int64_t layer, std::vector<Parameter>& out)
      : model_(model), layer_(static_cast<std::int16_t>(layer)), out_(out) {}

  void attention(const GroupedQueryAttention& a) {
    const std::int64_t qkv_width = (a.num_heads + 2 * a.num_kv_heads) * a.head_dim;
    add(WeightRole::attn_norm, 1, model_.hidden);
    add(WeightRole::qkv, qkv_width, model_.hidden);
    if (a.qkv_bias) add(WeightRole::qkv_bias, 1, qkv_width);
    if (a.qk_norm) {
      add(WeightRole::q_norm, 1, a.head_dim);
      add(WeightRole::k_norm, 1, a.head_dim);
    }
    add(WeightRole::attn_out, model_.hidden, a.num_heads * a.head_dim);
  }

  void attention(const MultiHeadLatentAttention& a) {
    const std::int64_t q_width = a.num_heads * (a.qk_nope_dim + a.qk_rope_dim);
    add(WeightRole::attn_norm, 1, model_.hidden);
    if (a.q_lora_rank > 0) {
      add(WeightRole::q_down, a.q_lora_rank, model_.hidden);
      add(WeightRole::q_latent_norm, 1, a.q_lora_rank);
    }
    add(WeightRole::q_up, q_width, a.q_lora_rank > 0 ? a.q_lora_rank : model_.hidden);
    add(WeightRole::kv_down, a.kv_lora_rank + a.qk_rope_dim, model_.hidden);
    add(WeightRole::kv_latent_norm, 1, a.kv_lora_rank);
    add(WeightRole::kv_up, a.num_heads * (a.qk_nope_dim + a.v_head_dim), a.kv_lora_rank);
    add(WeightRole::attn_out, model_.hidden, a.num_heads * a.v_head_dim);
  }

  void dense_mlp() {
    add(WeightRole::mlp_norm, 1, model_.hidden);
    add(WeightRole::mlp_fc1, 2 * model_.dense_width, model_.hidden);
    add(WeightRole::mlp_fc2, model_.hidden, model_.dense_width);
  }

  void moe(const MoeBlock& block, std::int64_t first_expert, std::int64_t num_experts) {
    add(WeightRole::moe_norm, 1, model_.hidden);
    add(WeightRole::router, block.num_experts, model_.hidden);
    if (block.aux_free_bias) {
      add(WeightRole::router_bias, 1, block.num_experts);
      out_.back().buffer = true;
    }
    // The same weight of all experts lies together: a grouped product takes it as one matrix.
    for (std::int64_t expert = first_expert; expert < first_expert + num_experts; ++expert) {
      add(WeightRole::expert_fc1, 2 * block.expert_width, model_.hidden, expert);
    }
    for (std::int64_t expert = first_expert; expert < first_expert + num_experts; ++expert) {
      add(WeightRole::expert_fc2, model_.hidden, block.expert_width, expert);
    }
    if (block.shared_width > 0) {
      add(WeightRole::shared_fc1, 2 * block.shared_width, model_.hidden);
      add(WeightRole::shared_fc2, model_.hidden, block.shared_width);
      if (block.shared_expert_gate) add(WeightRole::shared_gate, 1, model_.hidden);
    }
  }

 private:
  void add(WeightRole role, std::int64_t rows, std::int64_t cols, std::int64_t expert = -1) {
    out_.push_back({.role = role,
                    .layer = layer_,
                    .expert = static_cast<std::int32_t>(expert),
                    .rows = rows,
                    .cols = cols,
                    .split = split_of(role)});
  }

  const Model& model_;
  std::int16_t layer_;
  std::vector<Parameter>& out_;
};

void append_layer(const Model& model, std::int64_t layer, std::int64_t first_expert, std::int64_t num_experts,
                  std::vector<Parameter>& out) {
  LayerWriter writer(model, layer, out);
  std::visit([&](const auto& attention) { writer.attention(attention); }, model.attention);
  if (model.kind(layer) == LayerKind::dense) {
    writer.dense_mlp();
  } else {
    CHECK(model.moe.has_value(), layer);
    CHECK(first_expert >= 0 && first_expert + num_experts <= model.moe->num_experts, first_expert, num_experts);
    writer.moe(*model.moe, first_expert, num_experts);
  }
}

}  // namespace

std::string name_of(const Parameter& parameter) {
  const std::string_view name = name_of(kWeightNames, parameter.role);
  if (parameter.layer < 0) return std::string(name);
  if (parameter.is_expert()) return fmt::format("layers.{}.experts.{}.{}", parameter.layer, parameter.expert, name);
  return fmt::format("layers.{}.{}", parameter.layer, name);
}

std::vector<Parameter> layer_parameters(const Model& model, std::int64_t layer, std::int64_t first_expert,
                                        std::int64_t num_experts) {
  std::vector<Parameter> out;
  append_layer(model, layer, first_expert, num_experts, out);
  return out;
}

std::vector<Parameter> stage_parameters(const Model& model, const StageLayout& stage, std::int64_t ep,
                                        std::int64_t ep_index) {
  const std::int64_t num_experts = model.moe ? model.moe->num_experts : 0;
  CHECK(ep >= 1 && num_experts % ep == 0 && 0 <= ep_index && ep_index < ep, num_experts, ep, ep_index);
  const std::int64_t num_local_experts = num_experts / ep;

  std::vector<Parameter> out;
  const auto add = [&](WeightRole role, std::int64_t rows) {
    out.push_back({.role = role, .rows = rows, .cols = model.hidden, .split = split_of(role)});
  };
  if (stage.embedding) add(WeightRole::embedding, model.vocab);
  for (std::int64_t layer = stage.first_layer; layer < stage.first_layer + stage.num_layers; ++layer) {
    append_layer(model, layer, ep_index * num_local_experts, num_local_experts, out);
  }
  if (stage.head) {
    add(WeightRole::final_norm, 1);
    if (!(model.tied_embeddings && stage.embedding)) add(WeightRole::head, model.vocab);
  }
  return out;
}

}  // namespace orrery
