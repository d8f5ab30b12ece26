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

// Outputs of the fused projection of queries, keys and values (or its bias) on one rank.
std::int64_t kv_outputs(const Parameter& parameter, const GroupedQueryAttention& a, std::int64_t tp) {
  CHECK(a.num_kv_heads % tp == 0 || tp % a.num_kv_heads == 0, name_of(parameter), a.num_kv_heads, tp);
  const std::int64_t q_heads = divided(a.num_heads, tp, parameter);
  const std::int64_t kv_heads = std::max<std::int64_t>(a.num_kv_heads / tp, 1);
  return (q_heads + 2 * kv_heads) * a.head_dim;
}

}  // namespace

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
