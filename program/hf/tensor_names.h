// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

// What differs between the families in the names and the storage of tensors in a checkpoint; what all have in common is
// in program/hf_tensors.cpp. Source: the state dictionaries of Hugging Face Transformers, as save_pretrained writes
// them; of prediction modules README_WEIGHTS.md of DeepSeek-V3.

namespace orrery::hf {

struct TensorNames {
  std::string_view moe = "mlp";                                             // the block of experts in a layer
  std::string_view router = "gate";                                         // in that block
  std::string_view gate = "gate_proj", up = "up_proj", down = "down_proj";  // the products of an expert
  std::string_view shared = "shared_experts";                               // the shared expert in the block
  /// One tensor for each product of all experts, stored as input times output; gate and up take turns in the outputs.
  bool fused_experts = false;
  /// The two elements of a pair that RoPE turns lie side by side, and not half a head apart; unless "rope_interleave"
  /// of the config.json is false.
  bool rope_pairs = false;
};

inline constexpr TensorNames kCommonNames{};
inline constexpr TensorNames kDeepSeekNames{.rope_pairs = true};
inline constexpr TensorNames kGptOssNames{.router = "router", .fused_experts = true};
inline constexpr TensorNames kMixtralNames{.moe = "block_sparse_moe", .gate = "w1", .up = "w3", .down = "w2"};
inline constexpr TensorNames kQwenMoeNames{.shared = "shared_expert"};

/// What a model of the family computes and ours does not. `key` of the config.json says whether it does, unless it is
/// null or `unless`; an empty key: every model does.
struct Departure {
  std::string_view key, unless, what;
};

}  // namespace orrery::hf
