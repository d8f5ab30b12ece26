// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/megatron_model.h"

#include "planner/importers/layer_pattern.h"
#include "planner/limits.h"
#include "program/legality.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

class Sizes {
 public:
  Sizes(ArgumentList& in, std::int64_t tp, Model& model, std::vector<std::string>& notes)
      : in_(in), tp_(tp), model_(model), notes_(notes) {}

  void read() {
    layers();
    size("--hidden-size", model_.hidden);
    vocabulary();
    attention();
    experts();
  }

 private:
  void size(std::string_view name, std::int64_t& value) {
    if (const std::optional<std::int64_t> stated = in_.integer(name)) state(name, *stated, value);
  }

  void state(std::string_view name, std::int64_t stated, std::int64_t& value) {
    if (stated == value) return;
    notes_.push_back(fmt::format("{}: {} instead of {} of {}", name, stated, value, model_.name));
    value = stated;
  }

  /// What is stated of a kind of model that this one is not; Megatron-LM does not use it either.
  void unused(std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names) in_.integer(name);
  }

  bool has_layers(LayerKind kind) const { return std::ranges::find(model_.layers, kind) != model_.layers.end(); }

  void layers() {
    std::int64_t count = model_.num_layers();
    size("--num-layers", count);
    if (count != model_.num_layers()) model_ = with_layers(model_, count);
    const std::optional<std::string> pattern = in_.word("--moe-layer-freq");
    if (pattern && model_.moe) layers_with_experts(*pattern);
    if (model_.moe && !has_layers(LayerKind::moe)) {
      in_.problem(pattern ? "--moe-layer-freq" : "--num-layers",
                  fmt::format("expected a layer with experts among the first {} of {}", count, model_.name));
    }
    if (has_layers(LayerKind::dense)) {
      size("--ffn-hidden-size", model_.dense_width);
    } else {
      unused({"--ffn-hidden-size"});
    }
    if (model_.dense_width == 0 && has_layers(LayerKind::dense)) {
      in_.problem("--moe-layer-freq",
                  fmt::format("expected --ffn-hidden-size beside it: {} has no dense layers", model_.name));
    }
  }

  void layers_with_experts(const std::string& pattern) {
    auto found = read_layer_pattern(pattern, model_.num_layers());
    if (const auto* problem = std::get_if<std::string>(&found)) return in_.problem("--moe-layer-freq", *problem);
    auto stated = std::get<std::vector<LayerKind>>(std::move(found));
    if (stated == model_.layers) return;
    const auto with_experts = [](const std::vector<LayerKind>& layers) {
      return std::ranges::count(layers, LayerKind::moe);
    };
    notes_.push_back(fmt::format("--moe-layer-freq: {} layers with experts, {}; {} has {}", with_experts(stated),
                                 pattern, model_.name, with_experts(model_.layers)));
    model_.layers = std::move(stated);
    if (!has_layers(LayerKind::dense)) model_.dense_width = 0;
  }

  /// Megatron-LM pads the vocabulary so that every tensor-parallel rank has a multiple of the same rows.
  /// Source: Megatron-LM 0.20.0, megatron/training/tokenizer, padding of the vocabulary.
  void vocabulary() {
    const std::int64_t rows = in_.integer("--make-vocab-size-divisible-by", 1, kMostDegree).value_or(128);
    const std::optional<std::int64_t> vocab = in_.integer("--vocab-size");
    if (in_.has("--padded-vocab-size")) return size("--padded-vocab-size", model_.vocab);
    if (!vocab) return;
    const std::int64_t multiple = rows * tp_;
    const std::int64_t padded = (*vocab + multiple - 1) / multiple * multiple;
    state(fmt::format("--vocab-size, padded to a multiple of {}", multiple), padded, model_.vocab);
  }

  void attention() {
    std::visit([&](auto& attention) { size("--num-attention-heads", attention.num_heads); }, model_.attention);
    const bool latent = in_.on("--multi-latent-attention");
    if (auto* mla = std::get_if<MultiHeadLatentAttention>(&model_.attention)) {
      size("--q-lora-rank", mla->q_lora_rank);
      size("--kv-lora-rank", mla->kv_lora_rank);
      size("--qk-head-dim", mla->qk_nope_dim);
      size("--qk-pos-emb-head-dim", mla->qk_rope_dim);
      size("--v-head-dim", mla->v_head_dim);
      unused({"--num-query-groups", "--kv-channels"});
      return;
    }
    if (latent) {
      in_.problem("--multi-latent-attention", fmt::format("expected none: {} has other attention", model_.name));
    }
    auto& gqa = std::get<GroupedQueryAttention>(model_.attention);
    size("--num-query-groups", gqa.num_kv_heads);
    size("--kv-channels", gqa.head_dim);
    unused({"--q-lora-rank", "--kv-lora-rank", "--qk-head-dim", "--qk-pos-emb-head-dim", "--v-head-dim"});
  }

  void experts() {
    if (!model_.moe) {
      if (in_.has("--num-experts")) {
        in_.problem("--num-experts", fmt::format("expected none: {} has no experts", model_.name));
      }
      return;
    }
    MoeBlock& moe = *model_.moe;
    size("--num-experts", moe.num_experts);
    size("--moe-router-topk", moe.top_k);
    size("--moe-ffn-hidden-size", moe.expert_width);
    size("--moe-shared-expert-intermediate-size", moe.shared_width);
    size("--moe-router-num-groups", moe.num_groups);
    size("--moe-router-group-topk", moe.top_k_groups);
  }

  ArgumentList& in_;
  std::int64_t tp_;
  Model& model_;
  std::vector<std::string>& notes_;
};

}  // namespace

void read_megatron_model(ArgumentList& in, std::int64_t tp, Model& model, std::vector<std::string>& notes) {
  Sizes(in, tp, model, notes).read();
}

}  // namespace orrery::planner
