// SPDX-License-Identifier: Apache-2.0
#include "program/parameters.h"

#include "base/check.h"

namespace orrery {
namespace {

/// Appends parameters of one layer in global tensor order.
class LayerWriter {
 public:
  LayerWriter(const Model& model, std::int64_t layer, std::vector<Parameter>& out)
      : model_(model), layer_(static_cast<std::int16_t>(layer)), out_(out) {}

  void mtp_entry() {
    norm(WeightRole::mtp_embedding_norm);
    norm(WeightRole::mtp_hidden_norm);
    add(WeightRole::mtp_projection, model_.hidden, 2 * model_.hidden);
  }

  void mtp_exit() { norm(WeightRole::mtp_final_norm); }

  void attention(const GroupedQueryAttention& a) {
    const std::int64_t q_width = a.num_heads * a.head_dim, kv_width = a.num_kv_heads * a.head_dim;
    norm(WeightRole::attn_norm);
    linear(WeightRole::qkv, WeightRole::qkv_bias, q_width + 2 * kv_width, model_.hidden, a.qkv_bias);
    if (a.qk_norm && a.qk_norm_kind != QkNorm::unweighted) {
      const bool whole = a.qk_norm_kind == QkNorm::whole;
      vector(WeightRole::q_norm, whole ? q_width : a.head_dim, whole ? Split::rows : Split::none);
      vector(WeightRole::k_norm, whole ? kv_width : a.head_dim, whole ? Split::kv_rows : Split::none);
    }
    if (a.sinks) vector(WeightRole::sinks, a.num_heads);
    linear(WeightRole::attn_out, WeightRole::attn_out_bias, model_.hidden, q_width, a.out_bias);
  }

  void attention(const MultiHeadLatentAttention& a) {
    const std::int64_t q_width = a.num_heads * (a.qk_nope_dim + a.qk_rope_dim);
    norm(WeightRole::attn_norm);
    if (a.q_lora_rank > 0) {
      add(WeightRole::q_down, a.q_lora_rank, model_.hidden);
      vector(WeightRole::q_latent_norm, a.q_lora_rank);
    }
    add(WeightRole::q_up, q_width, a.q_lora_rank > 0 ? a.q_lora_rank : model_.hidden);
    add(WeightRole::kv_down, a.kv_lora_rank + a.qk_rope_dim, model_.hidden);
    vector(WeightRole::kv_latent_norm, a.kv_lora_rank);
    add(WeightRole::kv_up, a.num_heads * (a.qk_nope_dim + a.v_head_dim), a.kv_lora_rank);
    add(WeightRole::attn_out, model_.hidden, a.num_heads * a.v_head_dim);
  }

  void dense_mlp() {
    const std::int64_t f = model_.dense_width;
    norm(WeightRole::mlp_norm);
    linear(WeightRole::mlp_fc1, WeightRole::mlp_fc1_bias, model_.fc1_width(f), model_.hidden, model_.mlp_bias);
    linear(WeightRole::mlp_fc2, WeightRole::mlp_fc2_bias, model_.hidden, f, model_.mlp_bias);
  }

  void moe(const MoeBlock& block, std::int64_t first_expert, std::int64_t num_experts) {
    norm(WeightRole::moe_norm);
    linear(WeightRole::router, WeightRole::router_linear_bias, block.num_experts, model_.hidden, block.router_bias);
    if (block.aux_free_bias) {
      vector(WeightRole::router_bias, block.num_experts);
      out_.back().buffer = true;
    }
    // The same weight of all experts lies together: a grouped product takes it as one matrix.
    const auto experts = [&](WeightRole role, std::int64_t rows, std::int64_t cols) {
      for (std::int64_t i = first_expert; i < first_expert + num_experts; ++i) {
        add(role, rows, cols);
        out_.back().expert = static_cast<std::int32_t>(i);
      }
    };
    const std::int64_t fc1_width = model_.fc1_width(block.expert_width);
    experts(WeightRole::expert_fc1, fc1_width, model_.hidden);
    if (block.expert_bias) experts(WeightRole::expert_fc1_bias, 1, fc1_width);
    experts(WeightRole::expert_fc2, model_.hidden, block.expert_width);
    if (block.expert_bias) experts(WeightRole::expert_fc2_bias, 1, model_.hidden);
    if (block.shared_width > 0) {
      add(WeightRole::shared_fc1, model_.fc1_width(block.shared_width), model_.hidden);
      add(WeightRole::shared_fc2, model_.hidden, block.shared_width);
      if (block.shared_expert_gate) vector(WeightRole::shared_gate, model_.hidden);
    }
  }

 private:
  void add(WeightRole role, std::int64_t rows, std::int64_t cols) {
    out_.push_back({.role = role, .layer = layer_, .rows = rows, .cols = cols, .split = split_of(role)});
  }

  void vector(WeightRole role, std::int64_t size) { add(role, 1, size); }

  void vector(WeightRole role, std::int64_t size, Split split) {
    add(role, 1, size);
    out_.back().split = split;
  }

  void norm(WeightRole role) { add(role, model_.norm_bias ? 2 : 1, model_.hidden); }

  void linear(WeightRole role, WeightRole bias_role, std::int64_t rows, std::int64_t cols, bool has_bias) {
    add(role, rows, cols);
    if (has_bias) vector(bias_role, rows);
  }

  const Model& model_;
  std::int16_t layer_;
  std::vector<Parameter>& out_;
};

void append_layer(const Model& model, std::int64_t layer, std::int64_t first_expert, std::int64_t num_experts,
                  std::vector<Parameter>& out) {
  CHECK(layer < model.num_layers() + model.num_mtp_modules, layer);
  LayerWriter writer(model, layer, out);
  if (model.is_mtp(layer)) writer.mtp_entry();
  std::visit([&](const auto& attention) { writer.attention(attention); }, model.attention);
  if (model.kind(layer) == LayerKind::dense) {
    writer.dense_mlp();
  } else {
    CHECK(model.moe.has_value(), layer);
    CHECK(first_expert >= 0 && first_expert + num_experts <= model.moe->num_experts, first_expert, num_experts);
    writer.moe(*model.moe, first_expert, num_experts);
  }
  if (model.is_mtp(layer)) writer.mtp_exit();
}

}  // namespace

std::vector<Parameter> layer_parameters(const Model& model, std::int64_t layer, std::int64_t first_expert,
                                        std::int64_t num_experts) {
  std::vector<Parameter> out;
  append_layer(model, layer, first_expert, num_experts, out);
  return out;
}

namespace {

/// `has_embedding`: the rank holds the embedding on this stage or another; what is tied to it needs no copy then.
void append_stage(const Model& model, const StageLayout& stage, std::int64_t ep, std::int64_t ep_index,
                  bool has_embedding, std::vector<Parameter>& out) {
  const std::int64_t num_experts = model.moe ? model.moe->num_experts : 0;
  CHECK(ep >= 1 && num_experts % ep == 0 && 0 <= ep_index && ep_index < ep, num_experts, ep, ep_index);
  const std::int64_t num_local_experts = num_experts / ep;
  const std::int64_t first_expert = ep_index * num_local_experts;
  const bool copies_embedding = stage.num_mtp > 0 && !has_embedding;
  const auto add = [&](WeightRole role, std::int64_t rows) {
    out.push_back({.role = role, .rows = rows, .cols = model.hidden, .split = split_of(role)});
  };
  if (stage.embedding || copies_embedding) {
    add(WeightRole::embedding, model.vocab);
    if (model.learned_positions) add(WeightRole::positions, model.max_positions);
  }
  for (std::int64_t layer = stage.first_layer; layer < stage.first_layer + stage.num_layers; ++layer) {
    append_layer(model, layer, first_expert, num_local_experts, out);
  }
  for (std::int64_t i = 0; i < stage.num_mtp; ++i) {
    append_layer(model, model.num_layers() + i, first_expert, num_local_experts, out);
  }
  if (!stage.head) return;
  add(WeightRole::final_norm, model.norm_bias ? 2 : 1);
  if (!(model.tied_embeddings && (has_embedding || copies_embedding))) add(WeightRole::head, model.vocab);
}

}  // namespace

std::vector<Parameter> stage_parameters(const Model& model, const StageLayout& stage, std::int64_t ep,
                                        std::int64_t ep_index) {
  return rank_parameters(model, {&stage, 1}, ep, ep_index);
}

std::vector<Parameter> rank_parameters(const Model& model, std::span<const StageLayout> stages, std::int64_t ep,
                                       std::int64_t ep_index) {
  const bool has_embedding =
      std::any_of(stages.begin(), stages.end(), [](const StageLayout& stage) { return stage.embedding; });
  std::vector<Parameter> out;
  for (const StageLayout& stage : stages) append_stage(model, stage, ep, ep_index, has_embedding, out);
  return out;
}

}  // namespace orrery
