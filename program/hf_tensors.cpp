// SPDX-License-Identifier: Apache-2.0
#include "program/hf_tensors.h"

#include "base/check.h"
#include "base/enum_names.h"
#include "base/errors.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "program/hf/family.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include <fmt/format.h>

namespace orrery {
namespace {

using Role = WeightRole;

/// Weights that are one tensor as they are; below "model.layers.N.".
constexpr Named<Role> kPlainNames[] = {
    {"input_layernorm.weight", Role::attn_norm},
    {"self_attn.q_norm.weight", Role::q_norm},
    {"self_attn.k_norm.weight", Role::k_norm},
    {"self_attn.q_a_proj.weight", Role::q_down},
    {"self_attn.q_a_layernorm.weight", Role::q_latent_norm},
    {"self_attn.kv_a_layernorm.weight", Role::kv_latent_norm},
    {"self_attn.kv_b_proj.weight", Role::kv_up},
    {"self_attn.sinks", Role::sinks},
    {"self_attn.o_proj.weight", Role::attn_out},
    {"self_attn.o_proj.bias", Role::attn_out_bias},
    {"post_attention_layernorm.weight", Role::mlp_norm},
    {"post_attention_layernorm.weight", Role::moe_norm},
    {"mlp.down_proj.weight", Role::mlp_fc2},
    {"mlp.down_proj.bias", Role::mlp_fc2_bias},
    {"enorm.weight", Role::mtp_embedding_norm},
    {"hnorm.weight", Role::mtp_hidden_norm},
    {"eh_proj.weight", Role::mtp_projection},
    {"shared_head.norm.weight", Role::mtp_final_norm},
};

/// Those outside of layers.
constexpr Named<Role> kWholeNames[] = {{"model.embed_tokens.weight", Role::embedding},
                                       {"model.norm.weight", Role::final_norm},
                                       {"lm_head.weight", Role::head}};

template <std::size_t N>
std::optional<std::string_view> find(const Named<Role> (&names)[N], Role role) {
  for (const Named<Role>& named : names) {
    if (named.value == role) return named.name;
  }
  return std::nullopt;
}

constexpr std::string_view kLayerPrefix = "model.layers.";

std::string text_of(const JsonValue& value) { return JsonWriter(JsonWriter::Layout::line).value(value).text(); }

/// A box as a tensor of its own.
HfPart whole_tensor(const Parameter& p, Box box, std::string name) {
  const bool is_vector = p.rows == 1;
  return {.box = box,
          .tensor = std::move(name),
          .shape = is_vector ? TensorShape{box.cols} : TensorShape{box.rows, box.cols},
          .row_stride = is_vector ? 0 : box.cols};
}

/// Rows [row, row + count) of a weight that are rows [from, ...) of a tensor with `num_rows`, every `step`-th.
HfPart some_rows(const Parameter& p, std::int64_t row, std::int64_t count, const std::string& name,
                 std::int64_t num_rows, std::int64_t from, std::int64_t step = 1) {
  return {.box = {row, count, 0, p.cols},
          .tensor = name,
          .shape = {num_rows, p.cols},
          .first = from * p.cols,
          .row_stride = step * p.cols};
}

/// Rows of what RoPE turns: ours have the first elements of all pairs in front of the second ones.
void add_rotated(const Parameter& p, std::int64_t row, std::int64_t count, bool pairs, const std::string& name,
                 std::vector<HfPart>& out) {
  if (!pairs) {
    out.push_back(some_rows(p, row, count, name, p.rows, row));
    return;
  }
  for (const std::int64_t second : {0, 1}) {
    out.push_back(some_rows(p, row + second * count / 2, count / 2, name, p.rows, row + second, 2));
  }
}

}  // namespace

HfTensors::HfTensors(const Model& model, const std::string& config, const std::string& file) : model_(model) {
  const hf::Family* family = hf::family_of(model.family);
  names_ = family == nullptr ? nullptr : family->tensors;
  if (names_ == nullptr) {
    throw ConfigError({Problem{.file = file,
                               .message = fmt::format("expected a model type whose checkpoints can be read and "
                                                      "written, got {}",
                                                      model.family)}});
  }
  const JsonDocument document = JsonDocument::parse_text(config, file);
  const JsonObject in = document.root();
  const OptionalJsonValue interleave = in.optional("rope_interleave");
  rope_pairs_ = names_->rope_pairs && !(interleave.present() && text_of(interleave.value()) == "false");
  std::vector<hf::Departure> all = family->departures;
  all.push_back({"rope_scaling", "", "positions are not scaled"});
  all.push_back({"rope_type", "\"default\"", "positions are not scaled"});
  const auto rope = in.nullable("rope_parameters").object();
  for (const hf::Departure& departure : all) {
    const OptionalJsonValue value = (rope && rope->has(departure.key) ? *rope : in).nullable(departure.key);
    const bool departs = departure.key.empty() || (value.present() && text_of(value.value()) != departure.unless);
    if (!departs) continue;
    departures_.push_back(departure.key.empty() ? std::string(departure.what)
                                                : fmt::format("{}: {}", departure.key, departure.what));
  }
}

std::vector<HfPart> HfTensors::stacked(const Parameter& p, const std::vector<std::string>& names,
                                       const std::vector<std::int64_t>& sizes) const {
  const bool is_vector = p.rows == 1;
  CHECK(std::reduce(sizes.begin(), sizes.end()) == (is_vector ? p.cols : p.rows), name_of(p));
  std::vector<HfPart> parts;
  std::int64_t next = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Box box = is_vector ? Box{0, 1, next, sizes[i]} : Box{next, sizes[i], 0, p.cols};
    parts.push_back(whole_tensor(p, box, names[i]));
    next += sizes[i];
  }
  return parts;
}

std::vector<HfPart> HfTensors::gate_and_up(const Parameter& p, const std::string& prefix,
                                           std::string_view suffix) const {
  CHECK(model_.gated, name_of(p));
  const std::int64_t half = (p.rows == 1 ? p.cols : p.rows) / 2;
  return stacked(p, {fmt::format("{}gate_proj.{}", prefix, suffix), fmt::format("{}up_proj.{}", prefix, suffix)},
                 {half, half});
}

/// Of each head the part without positions, then the part that RoPE turns.
std::vector<HfPart> HfTensors::query_up(const Parameter& p, const std::string& prefix) const {
  const auto& a = std::get<MultiHeadLatentAttention>(model_.attention);
  const std::string name = prefix + (a.q_lora_rank > 0 ? "self_attn.q_b_proj.weight" : "self_attn.q_proj.weight");
  std::vector<HfPart> parts;
  for (std::int64_t head = 0; head < a.num_heads; ++head) {
    const std::int64_t row = head * (a.qk_nope_dim + a.qk_rope_dim);
    parts.push_back(some_rows(p, row, a.qk_nope_dim, name, p.rows, row));
    add_rotated(p, row + a.qk_nope_dim, a.qk_rope_dim, rope_pairs_, name, parts);
  }
  return parts;
}

/// The latent of keys and values, then the key that all heads share.
std::vector<HfPart> HfTensors::key_value_down(const Parameter& p, const std::string& prefix) const {
  const auto& a = std::get<MultiHeadLatentAttention>(model_.attention);
  const std::string name = prefix + "self_attn.kv_a_proj_with_mqa.weight";
  std::vector<HfPart> parts = {some_rows(p, 0, a.kv_lora_rank, name, p.rows, 0)};
  add_rotated(p, a.kv_lora_rank, a.qk_rope_dim, rope_pairs_, name, parts);
  return parts;
}

std::vector<HfPart> HfTensors::expert(const Parameter& p, const std::string& block) const {
  CHECK(model_.gated, name_of(p));
  const auto name = [&](std::string_view product, std::string_view suffix) {
    return fmt::format("{}experts.{}.{}.{}", block, p.expert, product, suffix);
  };
  const bool is_bias = p.rows == 1;
  const std::string_view suffix = is_bias ? "bias" : "weight";
  if (p.role == Role::expert_fc2 || p.role == Role::expert_fc2_bias) {
    return {whole_tensor(p, {0, p.rows, 0, p.cols}, name(names_->down, suffix))};
  }
  const std::int64_t half = (is_bias ? p.cols : p.rows) / 2;
  return stacked(p, {name(names_->gate, suffix), name(names_->up, suffix)}, {half, half});
}

/// Experts, inputs, outputs; of biases experts, outputs. Gate and up projection take turns in the outputs.
std::vector<HfPart> HfTensors::of_all_experts(const Parameter& p, const std::string& block) const {
  CHECK(model_.gated && model_.moe, name_of(p));
  const bool is_bias = p.rows == 1, is_fc1 = p.role == Role::expert_fc1 || p.role == Role::expert_fc1_bias;
  const std::int64_t outputs = is_bias ? p.cols : p.rows, inputs = is_bias ? 1 : p.cols;
  const std::int64_t turns = is_fc1 ? 2 : 1, share = outputs / turns;
  std::vector<HfPart> parts;
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    HfPart& part = parts.emplace_back();
    part.tensor = fmt::format("{}experts.{}{}", block, is_fc1 ? "gate_up_proj" : "down_proj", is_bias ? "_bias" : "");
    part.first = p.expert * inputs * outputs + turn;
    part.shape = {model_.moe->num_experts, inputs, outputs};
    if (is_bias) part.shape = {model_.moe->num_experts, outputs};
    part.box = is_bias ? Box{0, 1, turn * share, share} : Box{turn * share, share, 0, inputs};
    part.row_stride = is_bias ? 0 : turns;
    part.col_stride = is_bias ? turns : outputs;
  }
  return parts;
}

std::vector<HfPart> HfTensors::parts(const Parameter& p) const {
  const Box all{0, p.rows, 0, p.cols};
  if (const auto name = find(kWholeNames, p.role)) return {whole_tensor(p, all, std::string(*name))};
  CHECK(p.layer >= 0, name_of(p));
  const std::string prefix = fmt::format("{}{}.", kLayerPrefix, p.layer);
  if (const auto name = find(kPlainNames, p.role)) return {whole_tensor(p, all, prefix + std::string(*name))};
  const std::string block = fmt::format("{}{}.", prefix, names_->moe);
  const std::string router = fmt::format("{}{}.", block, names_->router);
  const std::string shared = fmt::format("{}{}.", block, names_->shared);
  if (p.is_expert()) return names_->fused_experts ? of_all_experts(p, block) : expert(p, block);
  if (p.role == Role::qkv || p.role == Role::qkv_bias) {
    const auto& a = std::get<GroupedQueryAttention>(model_.attention);
    const auto name = [&](char part) {
      return fmt::format("{}self_attn.{}_proj.{}", prefix, part, p.role == Role::qkv ? "weight" : "bias");
    };
    const std::int64_t kv_width = a.num_kv_heads * a.head_dim;
    return stacked(p, {name('q'), name('k'), name('v')}, {a.num_heads * a.head_dim, kv_width, kv_width});
  }
  if (p.role == Role::q_up) return query_up(p, prefix);
  if (p.role == Role::kv_down) return key_value_down(p, prefix);
  if (p.role == Role::mlp_fc1) return gate_and_up(p, prefix + "mlp.", "weight");
  if (p.role == Role::mlp_fc1_bias) return gate_and_up(p, prefix + "mlp.", "bias");
  if (p.role == Role::router) return {whole_tensor(p, all, router + "weight")};
  if (p.role == Role::router_linear_bias) return {whole_tensor(p, all, router + "bias")};
  if (p.role == Role::router_bias) return {whole_tensor(p, all, router + "e_score_correction_bias")};
  if (p.role == Role::shared_fc1) return gate_and_up(p, shared, "weight");
  if (p.role == Role::shared_fc2) return {whole_tensor(p, all, shared + "down_proj.weight")};
  CHECK(p.role == Role::shared_gate, name_of(p));  // learned positions are of no family
  HfPart gate = whole_tensor(p, all, block + "shared_expert_gate.weight");
  gate.shape = {1, p.cols};
  return {gate};
}

std::map<std::string, TensorShape> HfTensors::tensors(const std::vector<Parameter>& parameters) const {
  std::map<std::string, TensorShape> all;
  for (const Parameter& p : parameters) {
    for (HfPart& part : parts(p)) all[std::move(part.tensor)] = std::move(part.shape);
  }
  return all;
}

bool HfTensors::is_of_prediction_module(std::string_view tensor) const {
  for (std::int64_t i = 0; i < model_.num_mtp_modules; ++i) {
    if (tensor.starts_with(fmt::format("{}{}.", kLayerPrefix, model_.num_layers() + i))) return true;
  }
  return false;
}

bool HfTensors::is_redundant(std::string_view tensor) const {
  if (tensor == "lm_head.weight") return model_.tied_embeddings;
  if (tensor.ends_with(".rotary_emb.inv_freq")) return true;
  return is_of_prediction_module(tensor) &&
         (tensor.ends_with(".embed_tokens.weight") || tensor.ends_with(".shared_head.head.weight"));
}

}  // namespace orrery
