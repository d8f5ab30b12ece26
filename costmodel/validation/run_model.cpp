// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_model.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

/// What must be stated for a model of this kind; the first that is not.
std::optional<std::string> missing(const RunModel& in, bool is_moe, bool is_mla) {
  std::vector<std::pair<const char*, bool>> needed = {{"layers", in.layers.has_value()},
                                                      {"hidden", in.hidden.has_value()},
                                                      {"heads", in.heads.has_value()},
                                                      {"vocab", in.vocab.has_value()}};
  const bool has_dense_layers = !is_moe || in.dense_layers.value_or(0) > 0 || in.moe_layer_freq.has_value();
  if (has_dense_layers) needed.emplace_back("ffn", in.ffn.has_value());
  if (is_moe) {
    needed.emplace_back("experts", in.experts.has_value());
    needed.emplace_back("topk", in.topk.has_value());
    needed.emplace_back("moe_ffn", in.moe_ffn.has_value());
  }
  if (is_mla) needed.emplace_back("kv_lora_rank", in.kv_lora_rank.has_value());
  for (const auto& [key, is_there] : needed) {
    if (!is_there) return key;
  }
  return std::nullopt;
}

Attention attention_of(const std::string& name, const RunModel& in, bool is_mla) {
  if (is_mla) {
    return MultiHeadLatentAttention{.num_heads = *in.heads,
                                    .q_lora_rank = in.q_lora_rank.value_or(0),
                                    .kv_lora_rank = *in.kv_lora_rank,
                                    .qk_nope_dim = in.qk_nope_dim.value_or(0),
                                    .qk_rope_dim = in.qk_rope_dim.value_or(0),
                                    .v_head_dim = in.v_head_dim.value_or(0)};
  }
  return GroupedQueryAttention{.num_heads = *in.heads,
                               .num_kv_heads = in.kv_heads.value_or(*in.heads),
                               .head_dim = in.head_dim.value_or(*in.hidden / *in.heads),
                               // Every Qwen3 normalises queries and keys (Hugging Face modeling_qwen3.py).
                               .qk_norm = name.starts_with("qwen3")};
}

/// Kinds of the layers, in order; nothing if the pattern has no known meaning.
std::optional<std::vector<LayerKind>> layer_kinds(const RunModel& in, bool is_moe) {
  const auto num_layers = static_cast<std::size_t>(*in.layers);
  std::vector<LayerKind> kinds(num_layers, is_moe ? LayerKind::moe : LayerKind::dense);
  if (!is_moe) return kinds;
  if (in.moe_layer_freq) {
    if (*in.moe_layer_freq != "every 2nd layer") return std::nullopt;
    for (std::size_t i = 0; i < num_layers; i += 2) kinds[i] = LayerKind::dense;
    return kinds;
  }
  // A truncated model keeps its leading dense layers, of which DeepSeek-V3's proxies keep one (SimuMax).
  const auto num_dense = std::min(num_layers, static_cast<std::size_t>(in.dense_layers.value_or(0)));
  std::fill_n(kinds.begin(), num_dense, LayerKind::dense);
  return kinds;
}

}  // namespace

std::variant<DescribedModel, NotModelled> described_model(const std::string& name, const RunModel& in) {
  const auto refuse = [](std::string reason) { return NotModelled{"model: " + std::move(reason)}; };
  if (in.type == "hybrid" || in.type == "hybrid-moe") return refuse("type " + in.type);
  const bool is_moe = in.type == "moe";
  const std::string attention = in.attention.value_or("GQA");
  const bool is_mla = attention == "MLA";
  if (attention.find("delta net") != std::string::npos) return refuse("attention " + attention);
  if (const auto key = missing(in, is_moe, is_mla)) return refuse(fmt::format("{} is not stated", *key));
  const std::string activation = in.activation.value_or("swiglu");
  if (activation != "swiglu" && activation != "geglu") return refuse("activation " + activation);
  if (in.norm) return refuse("norm " + *in.norm);

  DescribedModel out;
  Model& model = out.model;
  model.name = name;
  model.family = in.type;
  model.hidden = *in.hidden;
  model.vocab = *in.vocab;
  model.attention = attention_of(name, in, is_mla);
  const auto kinds = layer_kinds(in, is_moe);
  if (!kinds) return refuse("MoE layers " + *in.moe_layer_freq);
  model.layers = *kinds;
  if (std::find(kinds->begin(), kinds->end(), LayerKind::dense) != kinds->end()) model.dense_width = *in.ffn;
  if (is_moe) {
    model.moe = MoeBlock{.num_experts = *in.experts,
                         .top_k = *in.topk,
                         .expert_width = *in.moe_ffn,
                         .shared_width = in.shared_expert_ffn.value_or(0),
                         .num_groups = in.router_groups.value_or(1),
                         .top_k_groups = in.router_group_topk.value_or(1)};
  }
  model.num_mtp_modules = in.mtp ? 1 : 0;
  model.tied_embeddings = in.tied_embeddings;
  if (attention != "GQA" && !is_mla) out.assumptions.push_back(attention + ": every layer sees the whole sequence");
  if (name.starts_with("gpt-oss")) out.assumptions.push_back("biases and attention sinks are left out");
  return out;
}

}  // namespace orrery::costmodel
