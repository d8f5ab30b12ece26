// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "executor/kernels/balance.h"
#include "executor/kernels/square_sum.h"
#include "executor/runtime/rank_state.h"

#include <bit>
#include <cmath>

namespace orrery::executor {
namespace {

constexpr double kLossUnit = 0x1p-60;  // the loss travels as a whole number of these

void reduce_gradients(OpCall& call, FlatState& state, bool scatter) {
  Communicator& group = call.rank.groups.of(call.op.queue);
  if (scatter) {
    // The shard is this rank's part of its own buffer; the sum must not be written over what peers still read.
    const std::span<float> shard = state.gradient_shard();
    std::vector<float> sum(shard.size());
    call.report = group.reduce_scatter(std::span<const float>(state.gradients()), std::span(sum), call.key);
    std::copy(sum.begin(), sum.end(), shard.begin());
  } else {
    call.report = group.all_reduce(state.gradients(), call.key);
  }
}

void sum_bias_counts(OpCall& call) {
  std::vector<std::int64_t> all;
  for (const auto& [layer, counts] : call.rank.totals.expert_counts)
    all.insert(all.end(), counts.begin(), counts.end());
  call.report = call.rank.groups.of(call.op.queue).all_reduce(std::span(all), call.key);
  auto next = all.begin();
  for (auto& [layer, counts] : call.rank.totals.expert_counts) {
    std::copy_n(next, counts.size(), counts.begin());
    next += static_cast<std::ptrdiff_t>(counts.size());
  }
}

/// Squares of this rank's gradient shard, as one exact integer, with an overflow flag above the loss in the second.
void square_gradients(RankState& rank) {
  SquareSum squares;
  squares.add(rank.weights.dense().gradient_shard());
  squares.add(rank.weights.expert().gradient_shard());
  const std::array<std::uint64_t, 3> words = squares.words();
  rank.totals.reduce_values[0] = static_cast<Int128>(words[1]) << 64 | static_cast<Int128>(words[0]);
  const auto loss = static_cast<Int128>(std::llround(rank.totals.loss / kLossUnit));
  rank.totals.reduce_values[1] = (static_cast<Int128>(words[2]) << 100) + loss;
}

void reduce_norm(OpCall& call) {
  RankState& rank = call.rank;
  call.report = rank.groups.world().all_reduce(std::span<Int128>(rank.totals.reduce_values), call.key);
  const Int128 squares = rank.totals.reduce_values[0], second = rank.totals.reduce_values[1];
  const Int128 overflows = (second + (static_cast<Int128>(1) << 99)) >> 100;
  rank.totals.squares = SquareSum::from_words({static_cast<std::uint64_t>(squares),
                                               static_cast<std::uint64_t>(squares >> 64), overflows > 0 ? 1U : 0U})
                            .value();
  rank.totals.global_loss = static_cast<double>(second - (overflows << 100)) * kLossUnit;
}

/// Factor that brings the gradient to the clipping norm; 1 if it is not above it.
float gradient_scale(const RankState& rank) {
  const double norm = std::sqrt(rank.totals.squares), limit = rank.settings.clip_norm;
  return limit > 0.0 && norm > limit ? static_cast<float>(limit / norm) : 1.0F;
}

void update_biases(RankState& rank) {
  for (const auto& [layer, counts] : rank.totals.expert_counts) {
    update_selection_bias(counts, rank.settings.bias_update_rate, rank.weights.router_bias(layer));
  }
}

void gather_weights(OpCall& call, FlatState& state) {
  call.report =
      call.rank.groups.of(call.op.queue).all_gather(state.weight_shard_bytes(), state.weight_bytes(), call.key);
}

}  // namespace

void run_step_end(OpCall& call) {
  RankState& rank = call.rank;
  const OpCode op = call.op.key.op;
  if (op == OpCode::dp_grad_rs || op == OpCode::dp_grad_ar) {
    reduce_gradients(call, rank.weights.dense(), op == OpCode::dp_grad_rs);
  } else if (op == OpCode::edp_grad_rs || op == OpCode::edp_grad_ar) {
    reduce_gradients(call, rank.weights.expert(), op == OpCode::edp_grad_rs);
  } else if (op == OpCode::moe_bias_counts) {
    sum_bias_counts(call);
  } else if (op == OpCode::norm_local) {
    square_gradients(rank);
  } else if (op == OpCode::norm_reduce) {
    reduce_norm(call);
  } else if (op == OpCode::adamw_dense) {
    rank.weights.dense().update(rank.settings.adamw, rank.step + 1, gradient_scale(rank));
  } else if (op == OpCode::adamw_expert) {
    rank.weights.expert().update(rank.settings.adamw, rank.step + 1, gradient_scale(rank));
  } else if (op == OpCode::moe_bias) {
    update_biases(rank);
  } else if (op == OpCode::dp_param_ag) {
    gather_weights(call, rank.weights.dense());
  } else if (op == OpCode::edp_param_ag) {
    gather_weights(call, rank.weights.expert());
  } else {
    CHECK(false, call.key);
  }
}

}  // namespace orrery::executor
