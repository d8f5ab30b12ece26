// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/model.h"
#include "program/strategy.h"

#include <cstdint>
#include <string>
#include <vector>

// The weights of a model, one by one, in global tensor order: layer by layer, embedding first and head last. This
// order defines the flat buffers of ZeRO and the names in checkpoints; counts of parameters are sums over it.

namespace orrery {

enum class WeightRole : std::uint8_t {
  embedding,
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
  attn_out,
  mlp_norm,
  mlp_fc1,
  mlp_fc2,
  moe_norm,
  router,
  router_bias,
  expert_fc1,
  expert_fc2,
  shared_fc1,
  shared_fc2,
  shared_gate,
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
struct Parameter {
  WeightRole role = WeightRole::embedding;
  std::int16_t layer = -1;   // global layer, -1: embedding, final norm, head
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

/// All parameters of layer `layer`, experts [first_expert, first_expert + num_experts) only.
std::vector<Parameter> layer_parameters(const Model& model, std::int64_t layer, std::int64_t first_expert,
                                        std::int64_t num_experts);

/// Parameters of one virtual stage for the rank at position `ep_index` of its EP group of `ep` ranks.
/// A tied head counts as a weight only where the embedding is not.
std::vector<Parameter> stage_parameters(const Model& model, const StageLayout& stage, std::int64_t ep,
                                        std::int64_t ep_index);

}  // namespace orrery
