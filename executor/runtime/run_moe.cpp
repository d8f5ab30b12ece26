// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "executor/kernels/balance.h"
#include "executor/kernels/elementwise.h"
#include "executor/kernels/grouped_gemm.h"
#include "executor/kernels/permute.h"
#include "executor/kernels/swiglu.h"
#include "executor/runtime/rank_state.h"

#include <numeric>

namespace orrery::executor {
namespace {

using R = TensorRole;
using W = WeightRole;

const MoeBlock& moe_of(const OpCall& call) { return *call.rank.model().moe; }

std::int64_t ep_of(const OpCall& call) { return call.rank.program.strategy.ep; }

std::int64_t num_local_experts(const OpCall& call) { return moe_of(call).num_experts / ep_of(call); }

RouterShape router_of(const OpCall& call) {
  const MoeBlock& moe = moe_of(call);
  return {.num_experts = moe.num_experts,
          .top_k = moe.top_k,
          .score = moe.score == orrery::RouterScore::softmax ? RouterScore::softmax : RouterScore::sigmoid,
          .temperature = call.rank.settings.router_temperature,
          .normalize_top_k = moe.normalize_top_k,
          .routed_scaling_factor = static_cast<float>(moe.routed_scaling)};
}

std::vector<std::int32_t> chosen_of_call(const OpCall& call) {
  return chosen_of(call.elements<std::uint8_t>(R::choices), moe_of(call).num_experts, moe_of(call).top_k);
}

/// Slot of each (token, choice) in the buffer that leaves this rank.
std::vector<std::int64_t> slots_of_call(const OpCall& call) {
  const std::vector<std::int32_t> chosen = chosen_of_call(call);
  std::vector<std::int64_t> slots(chosen.size()), counts(static_cast<std::size_t>(moe_of(call).num_experts));
  send_slots(chosen, counts, slots);
  return slots;
}

/// Weight of the auxiliary loss of one sequence, so that all sequences of the step together count once.
double auxiliary_scale(const OpCall& call) {
  return moe_of(call).aux_loss_coefficient / static_cast<double>(call.rank.program.batch.global_batch);
}

/// The router's weight in f32, whatever the model's precision.
ConstMatrix router_weight(const OpCall& call) {
  thread_local std::vector<float> storage;
  return widened(call.rank.weights.weight(W::router, call.layer()), storage);
}

void run_router(OpCall& call) {
  RankState& rank = call.rank;
  const RouterShape shape = router_of(call);
  if (call.is_wgrad()) {
    router_wgrad(rank.gemm, call.tensor(R::d_router_logits), call.tensor(R::norm2),
                 rank.weights.gradient(W::router, call.layer()));
    return;
  }
  if (call.is_forward()) {
    const Matrix scores = call.tensor(R::scores);
    router_scores(rank.gemm, shape, call.tensor(R::norm2), router_weight(call), rank.seq(), scores);
    std::vector<std::int32_t> chosen(static_cast<std::size_t>(scores.rows * shape.top_k));
    RoutedBatch& routed = call.routed();
    routed.probability.resize(chosen.size());
    router_choose(shape, scores, rank.weights.router_bias(call.layer()), chosen, routed.probability);
    if (rank.settings.balanced_routing) {
      choose_balanced(shape.num_experts, shape.top_k, static_cast<std::uint64_t>(call.layer()), chosen);
      router_probabilities(shape, scores, chosen, routed.probability);
    }
    write_choices(chosen, shape.num_experts, shape.top_k, call.elements<std::uint8_t>(R::choices));
    routed.send_counts.assign(static_cast<std::size_t>(shape.num_experts), 0);
    count_chosen(chosen, routed.send_counts);
    if (call.op.key.pass == Pass::rec) return;
    std::vector<std::int64_t>& counts = rank.totals.expert_counts[call.layer()];
    counts.resize(static_cast<std::size_t>(shape.num_experts));
    count_chosen(chosen, counts);
    rank.totals.loss += auxiliary_loss(shape, scores, chosen, rank.seq(), auxiliary_scale(call));
    return;
  }
  const std::vector<std::int32_t> chosen = chosen_of_call(call);
  const Matrix scores = call.tensor(R::scores);
  std::vector<float> d_scores(static_cast<std::size_t>(scores.rows * scores.cols));
  auxiliary_loss_backward(shape, scores, chosen, rank.seq(), auxiliary_scale(call), d_scores);
  const Matrix d_logits = call.tensor(R::d_router_logits);
  router_backward(shape, scores, chosen, call.elements<float>(R::d_probs), d_scores, d_logits);
  const Matrix d_norm = call.tensor(R::d_norm2);
  thread_local std::vector<std::byte> scratch;
  const Matrix more = scratch_like(d_norm, scratch);
  router_igrad(rank.gemm, d_logits, router_weight(call), rank.seq(), more);
  add(d_norm, more, d_norm);
}

/// Rows and probabilities that leave this rank; without EP they are already where the experts take them.
void run_permute(OpCall& call) {
  const bool exchanged = ep_of(call) > 1;
  const std::vector<std::int64_t> slots = slots_of_call(call);
  if (call.is_forward()) {
    scatter_rows(call.tensor(R::norm2), slots, call.tensor(exchanged ? R::send_rows : R::expert_in));
    RoutedBatch& routed = call.routed();
    scatter_values(routed.probability, slots, call.elements<float>(exchanged ? R::send_probs : R::expert_probs));
    routed.probability = {};
    return;
  }
  combine_rows(call.tensor(exchanged ? R::d_send_rows : R::d_expert_in), slots, call.tensor(R::d_norm2));
  gather_values(call.elements<float>(exchanged ? R::d_send_probs : R::d_expert_probs), slots,
                call.elements<float>(R::d_probs));
}

void run_unpermute(OpCall& call) {
  const bool exchanged = ep_of(call) > 1;
  const std::vector<std::int64_t> slots = slots_of_call(call);
  if (call.is_forward()) {
    combine_rows(call.tensor(exchanged ? R::combined_rows : R::expert_out), slots, call.tensor(R::moe_out));
  } else {
    scatter_rows(call.tensor(R::d_x), slots, call.tensor(exchanged ? R::d_combined_rows : R::d_expert_out));
  }
}

/// Counts of rows summed over the experts of each rank, times `row_bytes`.
Blocks blocks_by_rank(std::span<const std::int64_t> counts, std::int64_t ranks, std::int64_t row_bytes) {
  const std::size_t per_rank = counts.size() / static_cast<std::size_t>(ranks);
  std::vector<std::int64_t> bytes;
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(ranks); ++rank) {
    const auto mine = counts.subspan(rank * per_rank, per_rank);
    bytes.push_back(std::accumulate(mine.begin(), mine.end(), std::int64_t{0}) * row_bytes);
  }
  return Blocks::contiguous(std::move(bytes));
}

/// Adds a further call of the same op to its report.
void add_report(OpCall& call, const CommReport& more) {
  call.report.bytes_sent += more.bytes_sent;
  if (call.report.last_peer < 0) {
    call.report.last_peer = more.last_peer;
    call.report.last_arrival = more.last_arrival;
  }
}

/// Moves one row per (token, choice): towards the experts, or back.
void exchange(OpCall& call, Matrix at_tokens, Matrix at_experts, bool to_experts) {
  const RoutedBatch& routed = call.routed();
  const std::int64_t row = at_tokens.cols * size_of(at_tokens.dtype);
  const Blocks outside = blocks_by_rank(routed.send_counts, ep_of(call), row);
  const Blocks inside = blocks_by_rank(routed.receive_counts, ep_of(call), row);
  thread_local std::vector<std::byte> staging;
  const Matrix by_source = scratch_like(at_experts, staging);
  Communicator& group = call.rank.groups.of(Queue::ep);
  if (to_experts) {
    add_report(call, group.all_to_all_v(bytes_of(at_tokens), outside, staging, inside, call.key));
    sort_by_expert(routed.receive_counts, num_local_experts(call), by_source, at_experts);
  } else {
    unsort_by_expert(routed.receive_counts, num_local_experts(call), at_experts, by_source);
    add_report(call, group.all_to_all_v(staging, inside, bytes_of(at_tokens), outside, call.key));
  }
}

Matrix column(OpCall& call, TensorRole role) {
  const std::span<float> values = call.elements<float>(role);
  return matrix_of(values.data(), static_cast<std::int64_t>(values.size()), 1);
}

void run_dispatch(OpCall& call) {
  if (call.is_forward()) {
    exchange(call, call.tensor(R::send_rows), call.tensor(R::expert_in), true);
    exchange(call, column(call, R::send_probs), column(call, R::expert_probs), true);
  } else {
    exchange(call, call.tensor(R::d_send_rows), call.tensor(R::d_expert_in), false);
    exchange(call, column(call, R::d_send_probs), column(call, R::d_expert_probs), false);
  }
}

void run_combine(OpCall& call) {
  if (call.is_forward()) {
    exchange(call, call.tensor(R::combined_rows), call.tensor(R::expert_out), false);
  } else {
    exchange(call, call.tensor(R::d_combined_rows), call.tensor(R::d_expert_out), true);
  }
}

void run_expert_linear(OpCall& call, WeightRole role, TensorRole x, TensorRole y, TensorRole dx, TensorRole dy) {
  const std::vector<std::int64_t>& offsets = call.routed().offsets;
  RankState& rank = call.rank;
  if (call.is_wgrad()) {
    grouped_wgrad(rank.gemm, call.tensor(dy), call.tensor(x), offsets, rank.weights.gradient(role, call.layer()));
  } else if (call.is_forward()) {
    grouped_forward(rank.gemm, call.tensor(x), rank.weights.weight(role, call.layer()), offsets, call.tensor(y));
  } else {
    grouped_igrad(rank.gemm, call.tensor(dy), rank.weights.weight(role, call.layer()), offsets, call.tensor(dx));
  }
}

void run_expert_act(OpCall& call) {
  const std::span<const float> probability = call.elements<float>(R::expert_probs);
  if (call.is_forward()) {
    swiglu_forward(call.tensor(R::expert_fc1), probability, call.tensor(R::expert_act));
  } else {
    swiglu_backward(call.tensor(R::expert_fc1), probability, call.tensor(R::d_expert_act), call.tensor(R::d_expert_fc1),
                    call.elements<float>(R::d_expert_probs));
  }
}

}  // namespace

void learn_received_rows(OpCall& call) {
  RoutedBatch& routed = call.routed();
  const auto local = static_cast<std::size_t>(num_local_experts(call));
  if (ep_of(call) == 1) {
    routed.receive_counts = routed.send_counts;
  } else {
    // 32-bit counts of the rows for each expert go to the rank that has it.
    std::vector<std::int32_t> sent(routed.send_counts.begin(), routed.send_counts.end()), received(sent.size());
    const Blocks blocks = Blocks::contiguous(std::vector<std::int64_t>(
        static_cast<std::size_t>(ep_of(call)), static_cast<std::int64_t>(local * sizeof(std::int32_t))));
    add_report(call, call.rank.groups.of(Queue::ep).all_to_all_v(std::as_bytes(std::span(sent)), blocks,
                                                                 std::as_writable_bytes(std::span(received)), blocks,
                                                                 call.key));
    routed.receive_counts.assign(received.begin(), received.end());
  }
  routed.offsets.resize(local + 1);
  expert_offsets(routed.receive_counts, static_cast<std::int64_t>(local), routed.offsets);
}

void run_moe(OpCall& call) {
  const OpCode op = call.op.key.op;
  if (op == OpCode::moe_norm) {
    run_norm(call, W::moe_norm, R::x_mid, R::norm2, R::d_x_mid, R::d_norm2, R::d_x);
  } else if (op == OpCode::moe_router) {
    run_router(call);
  } else if (op == OpCode::moe_permute) {
    run_permute(call);
  } else if (op == OpCode::moe_dispatch) {
    run_dispatch(call);
  } else if (op == OpCode::moe_fc1) {
    run_expert_linear(call, W::expert_fc1, R::expert_in, R::expert_fc1, R::d_expert_in, R::d_expert_fc1);
  } else if (op == OpCode::moe_act) {
    run_expert_act(call);
  } else if (op == OpCode::moe_fc2) {
    run_expert_linear(call, W::expert_fc2, R::expert_act, R::expert_out, R::d_expert_act, R::d_expert_out);
  } else if (op == OpCode::moe_combine) {
    run_combine(call);
  } else if (op == OpCode::moe_unpermute) {
    run_unpermute(call);
  } else if (op == OpCode::moe_residual) {
    add(call.tensor(R::x_mid), call.tensor(R::moe_out), call.tensor(R::x));
    if (call.uses_role(R::shared_out)) add(call.tensor(R::x), call.tensor(R::shared_out), call.tensor(R::x));
  } else {
    CHECK(false, call.key);
  }
}

}  // namespace orrery::executor
