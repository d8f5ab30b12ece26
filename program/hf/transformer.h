// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/json_reader.h"
#include "program/model.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

// What the config.json files of all families have in common: the keys of a transformer with RMSNorm, rotary positions
// and SwiGLU. Defaults are those of the configuration classes of transformers.

namespace orrery::hf {

// The largest sizes that are read. They are far above any model and keep every count of parameters below 2^63.
inline constexpr IntegerRange kHidden{.min = 1, .max = 1 << 17};
inline constexpr IntegerRange kWidth{.min = 1, .max = 1 << 20};
inline constexpr IntegerRange kHeads{.min = 1, .max = 1 << 12};
inline constexpr IntegerRange kHeadDim{.min = 1, .max = 1 << 12};
inline constexpr IntegerRange kLayers{.min = 1, .max = 1 << 10};
inline constexpr IntegerRange kExperts{.min = 1, .max = 1 << 14};
inline constexpr NumberRange kSwiglu{.min = 1e-3, .max = 1e6};  // limit and sharpness of a clamped SwiGLU
inline constexpr IntegerRange kWindow{.min = 1, .max = std::int64_t{1} << 31};

/// Keys that `read_transformer` reads, and those that no family needs.
std::span<const std::string_view> transformer_keys();
std::span<const std::string_view> harmless_keys();

/// Reads `transformer_keys`. All layers are dense afterwards, until `set_layers` says otherwise. A file without
/// rms_norm_eps is refused, unless the family has a `norm_eps` that its files leave out.
void read_transformer(const JsonObject& in, Model& model, std::optional<double> norm_eps = std::nullopt);

/// Reads num_attention_heads, num_key_value_heads and head_dim. Requires: read_transformer was called.
GroupedQueryAttention read_grouped_query_attention(const JsonObject& in, const Model& model);

/// Reads "partial_rotary_factor", also where Transformers 5 has it: how much of each head RoPE turns.
void read_rotary_part(const JsonObject& in, GroupedQueryAttention& attention, double fallback);

/// Reads "attention_bias", which most families mean for all four projections. Absent: `fallback`.
void read_attention_bias(const JsonObject& in, GroupedQueryAttention& attention, bool fallback = false);

/// Reads num_experts_per_tok and the number of experts from the key that the family has for it.
MoeBlock read_experts(const JsonObject& in, std::string_view num_experts_key);

/// Reads n_group and topk_group: a token may use the experts of topk_group of n_group groups. Requires: the experts.
void read_expert_groups(const JsonObject& in, MoeBlock& block);

/// Makes the layers for which `is_moe` holds MoE layers with this block. A block without layers and the width of dense
/// layers that do not exist are dropped.
void set_layers(Model& model, const MoeBlock& block, const std::function<bool(std::int64_t)>& is_moe);

}  // namespace orrery::hf
