// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "executor/kernels/bias.h"
#include "executor/kernels/grouped_gemm.h"
#include "executor/kernels/permute.h"
#include "executor/kernels/swiglu.h"
#include "executor/runtime/dispatch.h"
#include "executor/runtime/run_moe.h"
#include "executor/runtime/run_tensor_parallel.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace orrery::executor {
namespace {

using R = TensorRole;
using W = WeightRole;

bool has_etp(const OpCall& call) { return call.rank.strategy().etp > 1; }

/// Rows of which an experts' gradient is made: those of all local experts, or of one expert those of one sequence.
struct ExpertRows {
  std::int64_t first = 0, count = 0;
  std::span<const std::int64_t> offsets;  // where in these rows each expert's begin, and their end

  ConstMatrix of(const Matrix& rows) const { return rows.row_block(first, count); }
  std::span<const float> of(std::span<const float> rows) const {
    return rows.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
  }
};

/// Calls add_to(f32 gradient of the experts of some rows, rows) for all terms of a gradient.
template <class Add>
void accumulate(OpCall& call, WeightRole role, Add&& add_to) {
  const RoutedBatch& routed = call.routed();
  const Matrix target = call.gradient(role);
  if (!call.adds_by_sequence()) {
    call.add_term(target, [&](const Matrix& sum) {
      add_to(sum, ExpertRows{0, routed.offsets.back(), std::span(routed.offsets)});
    });
    return;
  }
  const std::int64_t local = num_local_experts(call), rows = target.rows / local;
  const std::size_t num_terms = routed.sequence_rows.size() / static_cast<std::size_t>(local);  // of each expert
  std::int64_t first = 0;
  for (std::size_t i = 0; i < routed.sequence_rows.size(); ++i) {
    const std::int64_t count = routed.sequence_rows[i];
    if (count == 0) continue;
    const std::array<std::int64_t, 2> offsets{0, count};
    const Matrix of_expert = target.row_block(static_cast<std::int64_t>(i / num_terms) * rows, rows);
    call.add_term(of_expert, [&](const Matrix& sum) { add_to(sum, ExpertRows{first, count, offsets}); });
    first += count;
  }
  CHECK(first == routed.offsets.back(), call.key, first, routed.offsets.back());
}

void run_product(OpCall& call, WeightRole role) {
  const std::vector<std::int64_t>& offsets = call.routed().offsets;
  const Gemm& gemm = call.rank.gemm;
  if (call.is_wgrad()) {
    const Matrix x = call.operand(0), dy = call.operand(1);
    accumulate(call, role, [&](const Matrix& sum, const ExpertRows& rows) {
      grouped_wgrad(gemm, rows.of(dy), rows.of(x), rows.offsets, sum);
    });
  } else if (call.is_forward()) {
    grouped_forward(gemm, call.operand(0), call.weight(role), offsets, call.operand(-1));
  } else {
    grouped_igrad(gemm, call.operand(0), call.weight(role), offsets, call.operand(-1));
  }
}

/// What the bias behind the second product adds to the gradient of each row's probability: dy . bias.
void keep_bias_gradient(OpCall& call, ConstMatrix dy) {
  RoutedBatch& routed = call.routed();
  routed.bias_gradient.assign(static_cast<std::size_t>(dy.rows), 0.0F);
  if (call.rank.view.coords.etp != 0) return;  // the sum over the ETP group has it once
  std::vector<float> bias_storage, dy_storage;
  const ConstMatrix biases = widened(call.weight(W::expert_fc2_bias), bias_storage);
  const ConstMatrix wide = widened(dy, dy_storage);
  for (std::int64_t expert = 0; expert < biases.rows; ++expert) {
    const std::span<const float> bias = row_span<float>(biases, expert);
    for (std::int64_t row = routed.offsets[static_cast<std::size_t>(expert)];
         row < routed.offsets[static_cast<std::size_t>(expert) + 1]; ++row) {
      routed.bias_gradient[static_cast<std::size_t>(row)] =
          std::inner_product(bias.begin(), bias.end(), row_span<float>(wide, row).begin(), 0.0F);
    }
  }
}

/// Rows of each rank of the ETP group.
std::vector<std::int64_t> etp_rows(const OpCall& call) {
  std::vector<std::int64_t> rows;
  for (const auto& counts : call.routed().etp_counts) {
    rows.push_back(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  }
  return rows;
}

/// Calls move(row of the whole group, row of the rows that stand rank by rank, count): the experts' order is (local
/// expert, source rank), and a source rank is a place in the EP group and one in the ETP group.
template <class Move>
void for_each_segment(const OpCall& call, Move&& move) {
  const auto& counts = call.routed().etp_counts;
  const auto local = static_cast<std::size_t>(num_local_experts(call));
  std::vector<std::int64_t> next;  // by member: its rows are sorted by (local expert, place in the EP group)
  std::int64_t first = 0;
  for (const std::int64_t rows : etp_rows(call)) {
    next.push_back(first);
    first += rows;
  }
  std::int64_t whole = 0;
  for (std::size_t expert = 0; expert < local; ++expert) {
    for (std::size_t source = 0; source < counts.front().size() / local; ++source) {
      for (std::size_t member = 0; member < counts.size(); ++member) {
        const std::int64_t count = counts[member][source * local + expert];
        move(whole, next[member], count);
        whole += count;
        next[member] += count;
      }
    }
  }
}

Blocks row_blocks(const OpCall& call, const Matrix& like) {
  return Blocks::contiguous(etp_rows(call), like.cols * size_of(like.dtype));
}

void gather(OpCall& call, const Matrix& own, const Matrix& whole) {
  thread_local std::vector<std::byte> storage;
  const Matrix by_rank = scratch_like(whole, storage);
  call.add_report(call.group().all_gather_v(bytes_of(own), bytes_of(by_rank), row_blocks(call, own), call.key));
  for_each_segment(call, [&](std::int64_t to, std::int64_t from, std::int64_t count) {
    convert(by_rank.row_block(from, count), whole.row_block(to, count));
  });
}

void scatter(OpCall& call, const Matrix& whole, const Matrix& own) {
  thread_local std::vector<std::byte> storage;
  const Matrix by_rank = scratch_like(whole, storage);
  for_each_segment(call, [&](std::int64_t from, std::int64_t to, std::int64_t count) {
    convert(whole.row_block(from, count), by_rank.row_block(to, count));
  });
  call.add_report(call.group().reduce_scatter_v(sum_type_of(whole), bytes_of(by_rank), row_blocks(call, own),
                                                bytes_of(own), call.key));
}

}  // namespace

void run_expert_fc1(OpCall& call) {
  run_product(call, W::expert_fc1);
  if (!call.has_weight(W::expert_fc1_bias)) return;
  const std::vector<std::int64_t>& offsets = call.routed().offsets;
  if (call.is_forward()) {
    add_grouped_bias(call.weight(W::expert_fc1_bias), offsets, {}, call.operand(-1));
  } else if (call.is_wgrad()) {
    const Matrix dy = call.operand(1);
    accumulate(call, W::expert_fc1_bias, [&](const Matrix& sum, const ExpertRows& rows) {
      grouped_bias_backward(rows.of(dy), rows.offsets, {}, sum);
    });
  }
}

/// The bias is scaled by the probability as the rest of the output is, and one rank of an ETP group adds it.
void run_expert_fc2(OpCall& call) {
  run_product(call, W::expert_fc2);
  if (!call.has_weight(W::expert_fc2_bias)) return;
  const std::vector<std::int64_t>& offsets = call.routed().offsets;
  if (call.is_wgrad()) {
    const Matrix dy = call.operand(1);
    const std::span<const float> factors = call.routed().bias_factor;
    accumulate(call, W::expert_fc2_bias, [&](const Matrix& sum, const ExpertRows& rows) {
      grouped_bias_backward(rows.of(dy), rows.offsets, rows.of(factors), sum);
    });
  } else if (!call.is_forward()) {
    keep_bias_gradient(call, call.operand(0));
  } else if (call.rank.view.coords.etp == 0) {
    add_grouped_bias(call.weight(W::expert_fc2_bias), offsets, call.routed().bias_factor, call.operand(-1));
  }
}

void run_expert_act(OpCall& call) {
  const std::span<const float> probability = call.elements<float>(has_etp(call) ? R::gathered_probs : R::expert_probs);
  const MoeBlock& block = *call.rank.model().moe;
  const bool is_clamped = block.swiglu_limit > 0.0;
  const ClampedSwiglu clamped{.alpha = static_cast<float>(block.swiglu_alpha),
                              .limit = static_cast<float>(block.swiglu_limit)};
  if (call.is_forward()) {
    const Matrix out = call.operand(-1);
    is_clamped ? clamped.forward(call.operand(0), probability, out) : swiglu_forward(call.operand(0), probability, out);
    // The tensor may be gone when the second product needs it.
    if (call.has_weight(W::expert_fc2_bias)) call.routed().bias_factor.assign(probability.begin(), probability.end());
    return;
  }
  const std::span<float> gradient = call.elements<float>(has_etp(call) ? R::d_gathered_probs : R::d_expert_probs);
  const Matrix dout = call.tensor(R::d_expert_act), dfc1 = call.tensor(R::d_expert_fc1);
  if (is_clamped) {
    clamped.backward(call.operand(0), probability, dout, dfc1, gradient);
  } else {
    swiglu_backward(call.operand(0), probability, dout, dfc1, gradient);
  }
  const std::vector<float>& more = call.routed().bias_gradient;
  for (std::size_t i = 0; i < more.size(); ++i) gradient[i] += more[i];
}

void run_etp_gather(OpCall& call) {
  if (call.is_forward()) {
    gather(call, call.tensor(R::expert_in), call.tensor(R::gathered_in));
    gather(call, call.column(R::expert_probs), call.column(R::gathered_probs));
  } else {
    scatter(call, call.tensor(R::d_gathered_in), call.tensor(R::d_expert_in));
    scatter(call, call.column(R::d_gathered_probs), call.column(R::d_expert_probs));
  }
}

void run_etp_scatter(OpCall& call) {
  call.is_forward() ? scatter(call, call.operand(0), call.operand(-1))
                    : gather(call, call.operand(0), call.operand(-1));
}

}  // namespace orrery::executor
