// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/attention_span.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

// The architecture of a transformer as far as parameters, FLOPs, bytes and memory depend on it. A Model is what a
// Hugging Face `config.json` says once its family's spelling is removed, or a `model/1` file; it knows nothing of how
// it is split. Symbols in brackets are those of docs/design/notation.md.

namespace orrery {

/// What an RMSNorm on queries and keys covers, and whether it has a weight.
enum class QkNorm : std::uint8_t {
  per_head,    // over head_dim, one weight of that size for all heads (Qwen3)
  whole,       // over the whole projection (OLMoE)
  unweighted,  // over head_dim, no weight (Llama 4)
};

/// Grouped-query attention; multi-head attention is the case num_kv_heads == num_heads.
struct GroupedQueryAttention {
  std::int64_t num_heads = 0;     // [n]
  std::int64_t num_kv_heads = 0;  // [g]
  std::int64_t head_dim = 0;      // [dh]
  bool qkv_bias = false;
  bool qk_norm = false;  // RMSNorm on queries and keys, of this kind:
  QkNorm qk_norm_kind = QkNorm::per_head;
  bool out_bias = false;  // of the output projection
  bool sinks = false;     // a learned logit per head joins each softmax (GPT-OSS)
  /// RoPE turns the first so many elements of a head (GLM-4.5: half of them); 0: all.
  std::int64_t rotary_dim = 0;
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
  bool router_bias = false;  // a trained bias of the router, unlike aux_free_bias
  bool expert_bias = false;  // biases of both products of the routed experts
  bool scale_input = false;  // Llama 4: the score multiplies what enters an expert, not what leaves it
  /// GPT-OSS: the routed experts have a' sigmoid(alpha a') (c' + 1) in place of SwiGLU's silu(a) c, where a' = a but at
  /// most the limit, and c' = c but within it. A limit of 0: they have SwiGLU.
  double swiglu_limit = 0.0;
  double swiglu_alpha = 1.702;
};

enum class LayerKind : std::uint8_t { dense, moe };
enum class Activation : std::uint8_t { silu, gelu, squared_relu };
enum class NormKind : std::uint8_t { rms, layer };

struct Model {
  std::string name;              // of the file, without directory and extension
  std::string family;            // Hugging Face model_type
  std::int64_t hidden = 0;       // [h]
  std::int64_t vocab = 0;        // [V]
  std::int64_t dense_width = 0;  // [f] of the dense layers; 0: there are none
  Attention attention;
  std::optional<MoeBlock> moe;       // present iff a layer is LayerKind::moe
  std::vector<LayerKind> layers;     // one entry per layer, in order; its size is L
  std::int64_t num_mtp_modules = 0;  // multi-token-prediction modules behind the last layer
  bool tied_embeddings = false;      // the head reuses the embedding matrix
  double norm_eps = 1e-6;
  double rope_theta = 10000.0;
  std::int64_t max_positions = 0;
  /// Feed-forward, dense and expert: gated multiplies an activated half of fc1 by the other half and has three
  /// matrices (SwiGLU, GeGLU); otherwise fc1 has one half and there are two.
  bool gated = true;
  Activation activation = Activation::silu;
  bool mlp_bias = false;  // biases of both products of the dense layers
  NormKind norm = NormKind::rms;
  bool norm_bias = false;              // each norm has a bias beside its weight
  bool learned_positions = false;      // a weight (max_positions, hidden) is added to the embedding
  std::vector<AttentionSpan> spans{};  // one entry per layer, or empty: every layer sees everything before it

  std::int64_t num_layers() const { return static_cast<std::int64_t>(layers.size()); }
  /// Prediction modules count on behind the last layer and are like it: module i is layer num_layers() + i.
  bool is_mtp(std::int64_t layer) const { return layer >= num_layers(); }
  LayerKind kind(std::int64_t layer) const { return is_mtp(layer) ? layers.back() : layers.at(index(layer)); }
  AttentionSpan span(std::int64_t layer) const {
    if (spans.empty()) return {};
    return is_mtp(layer) ? spans.back() : spans.at(index(layer));
  }
  /// Outputs of the first product of a feed-forward of this width.
  std::int64_t fc1_width(std::int64_t width) const { return (gated ? 2 : 1) * width; }
  bool is_mla() const { return std::holds_alternative<MultiHeadLatentAttention>(attention); }

 private:
  static std::size_t index(std::int64_t layer) { return static_cast<std::size_t>(layer); }
};

}  // namespace orrery
