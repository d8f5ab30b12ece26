// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V2 and V3: multi-head latent attention, leading dense layers, shared experts, node-limited routing; V3 adds
// sigmoid scores, a selection bias in place of the auxiliary loss, and multi-token prediction. Kimi K2 is V3 with other
// sizes under a name of its own.
#include "program/hf/family.h"
#include "program/hf/transformer.h"

#include <string>

#include <fmt/format.h>

namespace orrery::hf {
namespace {

MultiHeadLatentAttention read_attention(const JsonObject& in) {
  MultiHeadLatentAttention attention;
  attention.num_heads = in.required("num_attention_heads").integer(kHeads);
  const OptionalJsonValue kv_heads = in.nullable("num_key_value_heads");
  const std::int64_t num_kv_heads = kv_heads.integer(kHeads).value_or(attention.num_heads);
  if (num_kv_heads != attention.num_heads) {
    kv_heads.value().problem(
        fmt::format("expected {} (num_attention_heads), got {}", attention.num_heads, num_kv_heads));
  }
  const JsonValue q_lora_rank = in.required("q_lora_rank");
  attention.q_lora_rank = q_lora_rank.is_null() ? 0 : q_lora_rank.integer(kWidth);
  attention.kv_lora_rank = in.required("kv_lora_rank").integer(kWidth);
  attention.qk_nope_dim = in.required("qk_nope_head_dim").integer(kHeadDim);
  attention.qk_rope_dim = in.required("qk_rope_head_dim").integer(kHeadDim);
  attention.v_head_dim = in.required("v_head_dim").integer(kHeadDim);
  return attention;
}

struct RoutingDefaults {
  RouterScore score;
  const char* method;
  bool normalize_top_k;
};

MoeBlock read_moe(const JsonObject& in, const RoutingDefaults& defaults) {
  constexpr Named<RouterScore> kScores[] = {{"softmax", RouterScore::softmax}, {"sigmoid", RouterScore::sigmoid}};
  MoeBlock block = read_experts(in, "n_routed_experts");
  block.expert_width = in.required("moe_intermediate_size").integer(kWidth);
  block.shared_width = block.expert_width * in.nullable("n_shared_experts").integer({.min = 0, .max = 64}).value_or(0);
  block.score = in.optional("scoring_func").one_of<RouterScore>(kScores).value_or(defaults.score);
  block.normalize_top_k = in.optional("norm_topk_prob").boolean().value_or(defaults.normalize_top_k);
  block.routed_scaling = in.optional("routed_scaling_factor").number({.min = 0.0}).value_or(1.0);
  block.aux_loss_coefficient = in.optional("aux_loss_alpha").number({.min = 0.0}).value_or(0.0);
  const std::string method =
      in.optional("topk_method").one_of({"greedy", "group_limited_greedy", "noaux_tc"}).value_or(defaults.method);
  block.aux_free_bias = method == "noaux_tc";
  // n_group and topk_group mean something only for the methods that limit a token to some groups of experts.
  if (method == "greedy") {
    in.ignore({"n_group", "topk_group"});
  } else {
    read_expert_groups(in, block);
  }
  return block;
}

void read(const JsonObject& in, Model& model, const RoutingDefaults& defaults) {
  read_transformer(in, model);
  model.attention = read_attention(in);
  const std::int64_t first_moe = in.required("first_k_dense_replace").integer({.min = 0, .max = kLayers.max});
  const std::int64_t step = in.optional("moe_layer_freq").integer(kLayers).value_or(1);
  set_layers(model, read_moe(in, defaults),
             [&](std::int64_t layer) { return layer >= first_moe && layer % step == 0; });
}

void read_v2(const JsonObject& in, Model& model) { read(in, model, {RouterScore::softmax, "greedy", false}); }

void read_v3(const JsonObject& in, Model& model) {
  read(in, model, {RouterScore::sigmoid, "noaux_tc", true});
  model.num_mtp_modules = in.nullable("num_nextn_predict_layers").integer({.min = 0, .max = 64}).value_or(0);
}

std::vector<std::string_view> read_keys(std::initializer_list<std::string_view> own) {
  const std::vector<std::string_view> common = join(transformer_keys(), {"num_attention_heads",
                                                                         "num_key_value_heads",
                                                                         "q_lora_rank",
                                                                         "kv_lora_rank",
                                                                         "qk_nope_head_dim",
                                                                         "qk_rope_head_dim",
                                                                         "v_head_dim",
                                                                         "first_k_dense_replace",
                                                                         "moe_layer_freq",
                                                                         "n_routed_experts",
                                                                         "num_experts_per_tok",
                                                                         "moe_intermediate_size",
                                                                         "n_shared_experts",
                                                                         "scoring_func",
                                                                         "norm_topk_prob",
                                                                         "routed_scaling_factor",
                                                                         "aux_loss_alpha",
                                                                         "topk_method",
                                                                         "n_group",
                                                                         "topk_group"});
  return join(common, own);
}

// ep_size is how the published checkpoint was run; head_dim and qk_head_dim repeat the dimensions of MLA.
std::vector<std::string_view> ignored_keys() {
  return join(harmless_keys(),
              {"ep_size", "head_dim", "output_router_logits", "qk_head_dim", "rope_interleave", "seq_aux"});
}

}  // namespace

const Family& deepseek_v2() {
  static const Family family{.model_type = "deepseek_v2",
                             .read_keys = read_keys({}),
                             .harmless_keys = ignored_keys(),
                             .refused_keys = {{"attention_bias", "a bias of the attention projections"},
                                              {"mlp_bias", "a bias of the feed-forward"}},
                             .read = read_v2,
                             .tensors = &kDeepSeekNames};
  return family;
}

const Family& deepseek_v3() {
  static const Family family{.model_type = "deepseek_v3",
                             .read_keys = read_keys({"num_nextn_predict_layers"}),
                             .harmless_keys = ignored_keys(),
                             .refused_keys = {{"attention_bias", "a bias of the attention projections"}},
                             .read = read_v3,
                             .tensors = &kDeepSeekNames};
  return family;
}

const Family& kimi_k2() {
  static const Family family{.model_type = "kimi_k2",
                             .read_keys = read_keys({"num_nextn_predict_layers"}),
                             .harmless_keys = ignored_keys(),
                             .refused_keys = {{"attention_bias", "a bias of the attention projections"}},
                             .read = read_v3,
                             .tensors = &kDeepSeekNames};
  return family;
}

}  // namespace orrery::hf
