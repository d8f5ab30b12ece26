// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

// The architecture of a transformer as far as parameters, FLOPs, bytes and memory depend on it. A Model is what a
// Hugging Face `config.json` says once its family's spelling is removed; it knows nothing of how it is split.
// Symbols in brackets are those of docs/design/notation.md.

namespace orrery {

/// Grouped-query attention; multi-head attention is the case num_kv_heads == num_heads.
struct GroupedQueryAttention {
  std::int64_t num_heads = 0;     // [n]
  std::int64_t num_kv_heads = 0;  // [g]
  std::int64_t head_dim = 0;      // [dh]
  bool qkv_bias = false;
  bool qk_norm = false;  // RMSNorm over head_dim on queries and keys
};

/// Multi-head latent attention (DeepSeek-V2, section 2.1): queries, keys and values pass through low-rank latents.
struct MultiHeadLatentAttention {
  std::int64_t num_heads = 0;     // [n]
  std::int64_t q_lora_rank = 0;   // [rq]; 0: queries are projected directly
  std::int64_t kv_lora_rank = 0;  // [rkv]
  std::int64_t qk_nope_dim = 0;   // [dn]
  std::int64_t qk_rope_dim = 0;   // [dr]
  std::int64_t v_head_dim = 0;    // [dv]
};

using Attention = std::variant<GroupedQueryAttention, MultiHeadLatentAttention>;

enum class RouterScore : std::uint8_t { softmax, sigmoid };

/// The routed and shared experts of the MoE layers of a model.
struct MoeBlock {
  std::int64_t num_experts = 0;     // [E]
  std::int64_t top_k = 0;           // [k]
  std::int64_t expert_width = 0;    // [fe] of one routed expert
  std::int64_t shared_width = 0;    // [fs] of all shared experts together; 0: none
  bool shared_expert_gate = false;  // Qwen2-MoE: the shared output is scaled by sigmoid(x w)
  RouterScore score = RouterScore::softmax;
  bool normalize_top_k = false;   // the k probabilities are divided by their sum
  double routed_scaling = 1.0;    // factor on the routed output
  std::int64_t num_groups = 1;    // node-limited routing: experts are in groups ...
  std::int64_t top_k_groups = 1;  // ... and a token may use this many of them
  bool aux_free_bias = false;     // per-expert selection bias instead of an auxiliary loss
  double aux_loss_coefficient = 0.0;
};

/// What a query of a layer sees: all keys before it, or a window of them; `chunked`: the window does not slide, it is
/// the block of the sequence in which the query lies (Llama 4).
struct AttentionSpan {
  std::int64_t window = 0;  // keys; 0: all
  bool chunked = false;
  auto operator<=>(const AttentionSpan&) const = default;
};

enum class LayerKind : std::uint8_t { dense, moe };

struct Model {
  std::string name;              // of the file, without directory and extension
  std::string family;            // Hugging Face model_type
  std::int64_t hidden = 0;       // [h]
  std::int64_t vocab = 0;        // [V]
  std::int64_t dense_width = 0;  // [f] of the dense layers; 0: there are none
  Attention attention;
  std::optional<MoeBlock> moe;       // present iff a layer is LayerKind::moe
  std::vector<LayerKind> layers;     // one entry per layer, in order; its size is L
  std::vector<AttentionSpan> spans;  // one entry per layer, or none: every layer sees everything
  std::int64_t num_mtp_modules = 0;  // multi-token-prediction modules behind the last layer
  bool tied_embeddings = false;      // the head reuses the embedding matrix
  double norm_eps = 1e-6;
  double rope_theta = 10000.0;
  std::int64_t max_positions = 0;

  std::int64_t num_layers() const { return static_cast<std::int64_t>(layers.size()); }
  LayerKind kind(std::int64_t layer) const { return layers.at(static_cast<std::size_t>(layer)); }
  /// Behind the last layer come those of multi-token prediction, which are like it.
  AttentionSpan span(std::int64_t layer) const {
    if (spans.empty()) return {};
    return layer < num_layers() ? spans[static_cast<std::size_t>(layer)] : spans.back();
  }
  bool is_mla() const { return std::holds_alternative<MultiHeadLatentAttention>(attention); }
};

}  // namespace orrery
