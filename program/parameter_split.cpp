// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "program/parameters.h"

#include <algorithm>

namespace orrery {
namespace {

std::int64_t divided(std::int64_t dimension, std::int64_t degree, const Parameter& parameter) {
  CHECK(dimension % degree == 0, name_of(parameter), dimension, degree);
  return dimension / degree;
}

// Outputs on one rank of the fused projection of queries, keys and values, or of its bias, or of keys alone.
std::int64_t kv_outputs(const Parameter& parameter, const GroupedQueryAttention& a, std::int64_t tp) {
  CHECK(a.num_kv_heads % tp == 0 || tp % a.num_kv_heads == 0, name_of(parameter), a.num_kv_heads, tp);
  const std::int64_t q_heads = divided(a.num_heads, tp, parameter);
  const std::int64_t kv_heads = std::max<std::int64_t>(a.num_kv_heads / tp, 1);
  if (parameter.role == WeightRole::k_norm) return kv_heads * a.head_dim;
  return (q_heads + 2 * kv_heads) * a.head_dim;
}

}  // namespace

Split split_of(WeightRole role) {
  switch (role) {
    case WeightRole::embedding:  // by vocabulary
    case WeightRole::sinks:      // by head
    case WeightRole::q_up:
    case WeightRole::kv_up:
    case WeightRole::mlp_fc1:
    case WeightRole::mlp_fc1_bias:
    case WeightRole::expert_fc1:
    case WeightRole::expert_fc1_bias:
    case WeightRole::shared_fc1:
    case WeightRole::head:  // by vocabulary
      return Split::rows;
    case WeightRole::attn_out:
    case WeightRole::mlp_fc2:
    case WeightRole::expert_fc2:
    case WeightRole::shared_fc2:
      return Split::cols;
    case WeightRole::qkv:
    case WeightRole::qkv_bias:
      return Split::kv_rows;
    case WeightRole::positions:
    case WeightRole::mtp_embedding_norm:
    case WeightRole::mtp_hidden_norm:
    case WeightRole::mtp_projection:  // repeated on every rank (program/lowering/mtp.cpp)
    case WeightRole::mtp_final_norm:
    case WeightRole::attn_norm:
    case WeightRole::q_norm:
    case WeightRole::k_norm:
    case WeightRole::q_down:
    case WeightRole::q_latent_norm:
    case WeightRole::kv_down:
    case WeightRole::kv_latent_norm:
    case WeightRole::attn_out_bias:  // added once, to the sum of all ranks, like the other biases of `cols` matrices
    case WeightRole::mlp_norm:
    case WeightRole::mlp_fc2_bias:
    case WeightRole::moe_norm:
    case WeightRole::router:
    case WeightRole::router_linear_bias:
    case WeightRole::router_bias:
    case WeightRole::expert_fc2_bias:
    case WeightRole::shared_gate:
    case WeightRole::final_norm:
      return Split::none;
  }
  CHECK(false, static_cast<int>(role));
}

std::int64_t elements_on_rank(const Parameter& parameter, const Model& model, std::int64_t tp, std::int64_t etp) {
  const std::int64_t degree = parameter.is_expert() ? etp : tp;
  CHECK(degree >= 1, name_of(parameter), degree);
  const bool is_vector = parameter.rows == 1;
  switch (parameter.split) {
    case Split::none:
      return parameter.size();
    case Split::rows:
      return is_vector ? divided(parameter.cols, degree, parameter)
                       : divided(parameter.rows, degree, parameter) * parameter.cols;
    case Split::cols:
      return parameter.rows * divided(parameter.cols, degree, parameter);
    case Split::kv_rows:
      return kv_outputs(parameter, std::get<GroupedQueryAttention>(model.attention), tp) *
             (is_vector ? 1 : parameter.cols);
  }
  CHECK(false, static_cast<int>(parameter.split));
}

}  // namespace orrery
