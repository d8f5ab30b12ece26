// SPDX-License-Identifier: Apache-2.0
#include "program/model_differences.h"

#include <map>
#include <string_view>
#include <variant>

#include <fmt/format.h>

namespace orrery {
namespace {

/// What is compared, by name, as text.
using Facts = std::map<std::string, std::string>;

/// One of the facts of a part of a model.
template <class Part>
struct Fact {
  std::string_view name;
  std::string (*text)(const Part&);
};

template <auto Member, class Part>
std::string text_of(const Part& part) {
  return fmt::format("{}", part.*Member);
}

std::string qk_norm_of(const GroupedQueryAttention& a) {
  if (!a.qk_norm) return "none";
  return a.qk_norm_kind == QkNorm::per_head ? "per_head" : a.qk_norm_kind == QkNorm::whole ? "whole" : "unweighted";
}

std::string score_of(const MoeBlock& b) { return b.score == RouterScore::softmax ? "softmax" : "sigmoid"; }

std::string layers_of(const Model& model) {
  std::string layers;
  for (std::int64_t layer = 0; layer < model.num_layers(); ++layer) {
    const AttentionSpan span = model.span(layer);
    layers += fmt::format("{}{}", layers.empty() ? "" : " ", model.kind(layer) == LayerKind::moe ? "moe" : "dense");
    if (!span.is_full()) layers += fmt::format("/{}{}", span.chunked ? "chunk" : "window", span.window);
  }
  return layers;
}

constexpr Fact<Model> kModelFacts[] = {{"family", text_of<&Model::family>},
                                       {"hidden", text_of<&Model::hidden>},
                                       {"vocab", text_of<&Model::vocab>},
                                       {"dense_width", text_of<&Model::dense_width>},
                                       {"tied_embeddings", text_of<&Model::tied_embeddings>},
                                       {"norm_eps", text_of<&Model::norm_eps>},
                                       {"rope_theta", text_of<&Model::rope_theta>},
                                       {"mlp_bias", text_of<&Model::mlp_bias>},
                                       {"layers", layers_of}};

constexpr Fact<GroupedQueryAttention> kGroupedFacts[] = {
    {"attention", [](const GroupedQueryAttention&) -> std::string { return "grouped-query"; }},
    {"num_heads", text_of<&GroupedQueryAttention::num_heads>},
    {"num_kv_heads", text_of<&GroupedQueryAttention::num_kv_heads>},
    {"head_dim", text_of<&GroupedQueryAttention::head_dim>},
    {"qkv_bias", text_of<&GroupedQueryAttention::qkv_bias>},
    {"out_bias", text_of<&GroupedQueryAttention::out_bias>},
    {"qk_norm", qk_norm_of},
    {"sinks", text_of<&GroupedQueryAttention::sinks>},
    {"rotary_dim", text_of<&GroupedQueryAttention::rotary_dim>}};

constexpr Fact<MultiHeadLatentAttention> kLatentFacts[] = {
    {"attention", [](const MultiHeadLatentAttention&) -> std::string { return "latent"; }},
    {"num_heads", text_of<&MultiHeadLatentAttention::num_heads>},
    {"q_lora_rank", text_of<&MultiHeadLatentAttention::q_lora_rank>},
    {"kv_lora_rank", text_of<&MultiHeadLatentAttention::kv_lora_rank>},
    {"qk_nope_dim", text_of<&MultiHeadLatentAttention::qk_nope_dim>},
    {"qk_rope_dim", text_of<&MultiHeadLatentAttention::qk_rope_dim>},
    {"v_head_dim", text_of<&MultiHeadLatentAttention::v_head_dim>}};

constexpr Fact<MoeBlock> kMoeFacts[] = {{"num_experts", text_of<&MoeBlock::num_experts>},
                                        {"top_k", text_of<&MoeBlock::top_k>},
                                        {"expert_width", text_of<&MoeBlock::expert_width>},
                                        {"shared_width", text_of<&MoeBlock::shared_width>},
                                        {"shared_expert_gate", text_of<&MoeBlock::shared_expert_gate>},
                                        {"score", score_of},
                                        {"normalize_top_k", text_of<&MoeBlock::normalize_top_k>},
                                        {"routed_scaling", text_of<&MoeBlock::routed_scaling>},
                                        {"num_groups", text_of<&MoeBlock::num_groups>},
                                        {"top_k_groups", text_of<&MoeBlock::top_k_groups>},
                                        {"aux_free_bias", text_of<&MoeBlock::aux_free_bias>},
                                        {"router_bias", text_of<&MoeBlock::router_bias>},
                                        {"expert_bias", text_of<&MoeBlock::expert_bias>},
                                        {"scale_input", text_of<&MoeBlock::scale_input>},
                                        {"swiglu_limit", text_of<&MoeBlock::swiglu_limit>},
                                        {"swiglu_alpha", text_of<&MoeBlock::swiglu_alpha>}};

template <class Part, std::size_t N>
void add(const Fact<Part> (&facts)[N], const Part& part, Facts& out) {
  for (const Fact<Part>& fact : facts) out.emplace(fact.name, fact.text(part));
}

Facts facts_of(const Model& model) {
  Facts facts;
  add(kModelFacts, model, facts);
  if (const auto* grouped = std::get_if<GroupedQueryAttention>(&model.attention)) add(kGroupedFacts, *grouped, facts);
  if (const auto* latent = std::get_if<MultiHeadLatentAttention>(&model.attention)) add(kLatentFacts, *latent, facts);
  if (model.moe) add(kMoeFacts, *model.moe, facts);
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
