// SPDX-License-Identifier: Apache-2.0
#include "program/model_differences.h"

#include <map>
#include <variant>

#include <fmt/format.h>

namespace orrery {
namespace {

/// What is compared, by name, as text.
using Facts = std::map<std::string, std::string>;

template <class Value>
void add(Facts& facts, const std::string& name, const Value& value) {
  facts[name] = fmt::format("{}", value);
}

void add_facts(const GroupedQueryAttention& a, Facts& facts) {
  add(facts, "attention", "grouped-query");
  add(facts, "num_heads", a.num_heads);
  add(facts, "num_kv_heads", a.num_kv_heads);
  add(facts, "head_dim", a.head_dim);
  add(facts, "qkv_bias", a.qkv_bias);
  add(facts, "out_bias", a.out_bias);
  add(facts, "qk_norm", a.qk_norm ? 1 + static_cast<int>(a.qk_norm_kind) : 0);
  add(facts, "sinks", a.sinks);
}

void add_facts(const MultiHeadLatentAttention& a, Facts& facts) {
  add(facts, "attention", "latent");
  add(facts, "num_heads", a.num_heads);
  add(facts, "q_lora_rank", a.q_lora_rank);
  add(facts, "kv_lora_rank", a.kv_lora_rank);
  add(facts, "qk_nope_dim", a.qk_nope_dim);
  add(facts, "qk_rope_dim", a.qk_rope_dim);
  add(facts, "v_head_dim", a.v_head_dim);
}

void add_facts(const MoeBlock& b, Facts& facts) {
  add(facts, "num_experts", b.num_experts);
  add(facts, "top_k", b.top_k);
  add(facts, "expert_width", b.expert_width);
  add(facts, "shared_width", b.shared_width);
  add(facts, "shared_expert_gate", b.shared_expert_gate);
  add(facts, "score", b.score == RouterScore::softmax ? "softmax" : "sigmoid");
  add(facts, "normalize_top_k", b.normalize_top_k);
  add(facts, "routed_scaling", b.routed_scaling);
  add(facts, "num_groups", b.num_groups);
  add(facts, "top_k_groups", b.top_k_groups);
  add(facts, "aux_free_bias", b.aux_free_bias);
  add(facts, "router_bias", b.router_bias);
  add(facts, "expert_bias", b.expert_bias);
  add(facts, "scale_input", b.scale_input);
}

Facts facts_of(const Model& model) {
  Facts facts;
  add(facts, "family", model.family);
  add(facts, "hidden", model.hidden);
  add(facts, "vocab", model.vocab);
  add(facts, "dense_width", model.dense_width);
  add(facts, "tied_embeddings", model.tied_embeddings);
  add(facts, "norm_eps", model.norm_eps);
  add(facts, "rope_theta", model.rope_theta);
  add(facts, "mlp_bias", model.mlp_bias);
  std::string layers;
  for (std::int64_t layer = 0; layer < model.num_layers(); ++layer) {
    const AttentionSpan span = model.span(layer);
    layers += fmt::format("{}{}", layers.empty() ? "" : " ", model.kind(layer) == LayerKind::moe ? "moe" : "dense");
    if (!span.is_full()) layers += fmt::format("/{}{}", span.chunked ? "chunk" : "window", span.window);
  }
  add(facts, "layers", layers);
  std::visit([&](const auto& attention) { add_facts(attention, facts); }, model.attention);
  if (model.moe) add_facts(*model.moe, facts);
  return facts;
}

}  // namespace

std::vector<std::string> differences(const Model& expected, const Model& got) {
  const Facts want = facts_of(expected), have = facts_of(got);
  std::vector<std::string> all;
  for (const auto& [name, value] : want) {
    const auto found = have.find(name);
    const std::string other = found == have.end() ? "none" : found->second;
    if (other != value) all.push_back(fmt::format("{}: expected {} of the plan's model, got {}", name, value, other));
  }
  for (const auto& [name, value] : have) {
    if (!want.contains(name)) all.push_back(fmt::format("{}: expected none of the plan's model, got {}", name, value));
  }
  return all;
}

}  // namespace orrery
