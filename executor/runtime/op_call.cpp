// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/op_call.h"

#include "base/check.h"
#include "base/errors.h"
#include "executor/kernels/fixed_point.h"

#include <algorithm>

#include <fmt/format.h>

namespace orrery::executor {

bool is_of_unit(TensorRole role) {
  return role == TensorRole::layer_weights || role == TensorRole::expert_layer_weights ||
         role == TensorRole::grad_bucket || role == TensorRole::expert_grad_bucket;
}

const TensorUse& OpCall::use(int place) const {
  const auto counts = [&](const TensorUse& use) { return !is_of_unit(rank.rank_class.tensors[use.tensor()].role); };
  if (place >= 0) {
    for (const TensorUse& use : uses) {
      if (counts(use) && place-- == 0) return use;
    }
  } else {
    for (auto use = uses.rbegin(); use != uses.rend(); ++use) {
      if (counts(*use) && ++place == 0) return *use;
    }
  }
  CHECK(false, key, uses.size());
}

int OpCall::num_operands() const {
  return static_cast<int>(std::count_if(uses.begin(), uses.end(), [&](const TensorUse& use) {
    return !is_of_unit(rank.rank_class.tensors[use.tensor()].role);
  }));
}

TensorIndex OpCall::index(TensorRole role) const {
  for (const TensorUse& use : uses) {
    if (rank.rank_class.tensors[use.tensor()].role == role) return use.tensor();
  }
  CHECK(false, key, name_of(role));
}

bool OpCall::uses_role(TensorRole role) const {
  return std::any_of(uses.begin(), uses.end(),
                     [&](const TensorUse& use) { return rank.rank_class.tensors[use.tensor()].role == role; });
}

std::int64_t OpCall::layer_of(WeightRole role) const {
  const bool at_end = role == WeightRole::embedding || role == WeightRole::positions ||
                      role == WeightRole::final_norm || role == WeightRole::head;
  return at_end ? -1 : op.key.layer;
}

ConstMatrix OpCall::weight(WeightRole role) const { return rank.weights.weight(role, layer_of(role), unit_of(op.key)); }

bool OpCall::has_weight(WeightRole role) const { return rank.weights.has(role, layer_of(role)); }

Matrix OpCall::gradient(WeightRole role) const { return rank.weights.gradient(role, layer_of(role), unit_of(op.key)); }

Matrix OpCall::zero_term(const Matrix& target) {
  thread_local std::vector<float> values;
  values.assign(static_cast<std::size_t>(target.rows * target.cols), 0.0F);
  return matrix_of(values.data(), target.rows, target.cols);
}

/// A matrix that is embedding and head gets a term of each sequence from both, and from both ends of each prediction
/// module; any other one term, of which there are no more than sequences.
void OpCall::add_rounded(const Matrix& term, const Matrix& target) const {
  if (target.dtype != DType::i64) return add(target, term, target);
  const std::int64_t num_terms = rank.program.batch.global_batch * 2 * (1 + rank.model().num_mtp_modules);
  const double limit = kFixedPointLimit / static_cast<double>(num_terms);
  if (add_fixed_point(term, limit, target)) return;
  throw BackendError(
      fmt::format("{}: expected gradients of a sequence below {:.3g}, which whole multiples of 2^-50 can "
                  "add up, got a larger one or no number: training diverges",
                  key, limit));
}

void OpCall::add_report(const CommReport& more) {
  report.bytes_sent += more.bytes_sent;
  report.bytes_on_network += more.bytes_on_network;
  if (report.last_peer < 0) {
    report.last_peer = more.last_peer;
    report.last_arrival = more.last_arrival;
  }
}

}  // namespace orrery::executor
