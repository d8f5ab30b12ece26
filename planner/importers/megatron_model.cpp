// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/megatron_model.h"

#include "planner/limits.h"

#include <algorithm>
#include <variant>

#include <fmt/format.h>

namespace orrery::planner {

void read_megatron_model(ArgumentList& in, Model& model, std::vector<std::string>& notes) {
  const auto size = [&](const char* name, std::int64_t& value) {
    const std::optional<std::int64_t> stated = in.integer(name);
    if (!stated || *stated == value) return false;
    notes.push_back(fmt::format("{}: {} instead of {} of {}", name, *stated, value, model.name));
    value = *stated;
    return true;
  };
  std::int64_t layers = model.num_layers();
  if (size("--num-layers", layers)) model = with_layers(model, layers);
  if (model.moe && std::ranges::find(model.layers, LayerKind::moe) == model.layers.end()) {
    in.problem("--num-layers",
               fmt::format("expected a layer with experts among the first {} of {}", layers, model.name));
  }
  size("--hidden-size", model.hidden);
  if (in.has("--ffn-hidden-size") && model.dense_width == 0) {
    in.integer("--ffn-hidden-size");  // stated all the same, of no layer
  } else {
    size("--ffn-hidden-size", model.dense_width);
  }
  size("--padded-vocab-size", model.vocab);
  std::visit([&](auto& attention) { size("--num-attention-heads", attention.num_heads); }, model.attention);
  if (auto* gqa = std::get_if<GroupedQueryAttention>(&model.attention)) {
    size("--num-query-groups", gqa->num_kv_heads);
    size("--kv-channels", gqa->head_dim);
  } else {
    in.integer("--num-query-groups");
    in.integer("--kv-channels");
  }
  if (!model.moe) {
    if (in.has("--num-experts"))
      in.problem("--num-experts", fmt::format("expected none: {} has no experts", model.name));
    return;
  }
  MoeBlock& moe = *model.moe;
  size("--num-experts", moe.num_experts);
  size("--moe-router-topk", moe.top_k);
  size("--moe-ffn-hidden-size", moe.expert_width);
  size("--moe-shared-expert-intermediate-size", moe.shared_width);
  size("--moe-router-num-groups", moe.num_groups);
  size("--moe-router-group-topk", moe.top_k_groups);
}

}  // namespace orrery::planner
