// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/model.h"
#include "program/strategy.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

// The weights of a model, one by one, in global tensor order: layer by layer, embedding first and head last, with
// multi-token-prediction modules between the layers and the final norm. This order defines the flat buffers of ZeRO
// and the names in checkpoints; counts of parameters are sums over it.

namespace orrery {

enum class WeightRole : std::uint8_t {
  embedding,
  positions,           // learned, added to the embedding
  mtp_embedding_norm,  // of the embedding of the next token ...
  mtp_hidden_norm,     // ... and of the hidden state, which together enter ...
  mtp_projection,      // ... the projection (h, 2h) in front of the layer of a prediction module
  attn_norm,
  qkv,
  qkv_bias,
  q_norm,
  k_norm,
  q_down,
  q_latent_norm,
  q_up,
  kv_down,
  kv_latent_norm,
  kv_up,
  sinks,
  attn_out,
  attn_out_bias,
  mlp_norm,
  mlp_fc1,
  mlp_fc1_bias,
  mlp_fc2,
  mlp_fc2_bias,
  moe_norm,
  router,
  router_linear_bias,  // trained
  router_bias,         // of the selection, a buffer
  expert_fc1,
  expert_fc1_bias,
  expert_fc2,
  expert_fc2_bias,
  shared_fc1,
  shared_fc2,
  shared_gate,
  mtp_final_norm,  // behind the layer of a prediction module
  final_norm,
  head,
};

/// How tensor parallelism divides a weight. Experts are divided over ETP, everything else over TP. A bias or norm is a
/// vector over the outputs of its matrix, and is divided as those outputs are.
enum class Split : std::uint8_t {
  none,     // every rank holds all of it
  rows,     // outputs: column-parallel in Megatron-LM's words; elements of a vector, gate and up halves alike
  cols,     // inputs: row-parallel in Megatron-LM's words
  kv_rows,  // outputs by head, of which a rank holds at least one key-value head: copies when TP > num_kv_heads
};

/// One weight of shape (rows, cols), y = x w^T for matrices; vectors have rows = 1. Gated fc1 has the gate rows first.
/// A norm with a bias is one weight of two rows, the scale and the bias.
struct Parameter {
  WeightRole role = WeightRole::embedding;
  std::int16_t layer = -1;   // global layer, from num_layers on a prediction module; -1: embedding, final norm, head
  std::int32_t expert = -1;  // global expert, -1: not an expert weight
  std::int64_t rows = 0, cols = 0;
  bool buffer = false;  // kept and saved, but not trained by the optimizer (router_bias)
  Split split = Split::none;

  std::int64_t size() const { return rows * cols; }
  bool is_expert() const { return expert >= 0; }
  bool operator==(const Parameter&) const = default;
};

/// Elements of `parameter` on one rank of a TP group of `tp` ranks, or of an ETP group of `etp` ranks for an expert.
/// All ranks hold equally many. Nothing is padded: the divided dimension, heads for attention, is a multiple of the
/// degree, and of num_kv_heads and `tp` one divides the other. Legality of a strategy ensures both.
/// Source: Megatron-LM's ColumnParallelLinear, RowParallelLinear and the query groups of its Attention.
std::int64_t elements_on_rank(const Parameter& parameter, const Model& model, std::int64_t tp, std::int64_t etp);

/// For example "layers.3.experts.17.fc1".
std::string name_of(const Parameter& parameter);

/// How weights of this role are divided. Norms over a whole projection are divided with it (parameters.cpp).
Split split_of(WeightRole role);

/// All parameters of layer `layer`, experts [first_expert, first_expert + num_experts) only. From num_layers() on these
/// are the prediction modules, each a layer with two norms and a projection before it and a norm behind it; their
/// embedding and head are those of the model. Source: README_WEIGHTS.md of DeepSeek-V3.
std::vector<Parameter> layer_parameters(const Model& model, std::int64_t layer, std::int64_t first_expert,
                                        std::int64_t num_experts);

/// Parameters of one virtual stage for the rank at position `ep_index` of its EP group of `ep` ranks, those of its
/// prediction modules included. A tied head counts as a weight only where the embedding is not. Modules embed the
/// tokens that they predict from: where the embedding is not, they hold a copy. Source: Megatron-LM, GPTModel.
std::vector<Parameter> stage_parameters(const Model& model, const StageLayout& stage, std::int64_t ep,
                                        std::int64_t ep_index);

/// The same of all stages that one rank holds: between them no copy is needed.
std::vector<Parameter> rank_parameters(const Model& model, std::span<const StageLayout> stages, std::int64_t ep,
                                       std::int64_t ep_index);

}  // namespace orrery
