// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "executor/kernels/balance.h"
#include "executor/kernels/shared_gate.h"
#include "executor/runtime/dispatch.h"
#include "executor/runtime/routing_replay.h"
#include "executor/runtime/run_moe.h"

namespace orrery::executor {
namespace {

using R = TensorRole;
using W = WeightRole;

RouterShape router_of(const OpCall& call) {
  const MoeBlock& moe = moe_of(call);
  return {.num_experts = moe.num_experts,
          .top_k = moe.top_k,
          .score = moe.score == orrery::RouterScore::softmax ? RouterScore::softmax : RouterScore::sigmoid,
          .temperature = call.rank.settings.router_temperature,
          .normalize_top_k = moe.normalize_top_k,
          .routed_scaling_factor = static_cast<float>(moe.routed_scaling),
          .num_groups = moe.num_groups,
          .top_k_groups = moe.top_k_groups};
}

/// Weight of the auxiliary loss of one sequence, so that all sequences of the step together count once.
double auxiliary_scale(const OpCall& call) {
  return moe_of(call).aux_loss_coefficient / static_cast<double>(call.rank.program.batch.global_batch);
}

/// How often each sequence chose each expert. Ranks of a TP or CP group have parts of a sequence and add up their
/// counts, which the program has no op for: 8 bytes for each sequence and expert.
SequenceCounts sequence_counts(OpCall& call, std::span<const std::int32_t> chosen, std::int64_t rows) {
  SequenceCounts counts = count_by_sequence(router_of(call), chosen, rows);
  const Strategy& s = call.rank.strategy();
  if (moe_of(call).aux_loss_coefficient == 0.0) return counts;
  for (const auto& [group, size] : {std::pair{Group::tp, s.tp}, {Group::cp, s.cp}}) {
    if (size == 1) continue;
    call.add_report(call.rank.groups.of(group).all_reduce(std::span(counts.counts), call.key));
    counts.tokens *= size;
  }
  return counts;
}

/// The router's weight in f32, whatever the model's precision.
ConstMatrix router_weight(const OpCall& call) {
  thread_local std::vector<float> storage;
  return widened(call.weight(W::router), storage);
}

std::vector<float> router_bias(const OpCall& call) {
  if (!call.has_weight(W::router_linear_bias)) return {};
  std::vector<float> storage;
  const std::span<const float> values = row_span<float>(widened(call.weight(W::router_linear_bias), storage), 0);
  return {values.begin(), values.end()};
}

/// Where the chosen experts stand in their layer, and back: who sends and computes knows positions only.
std::vector<std::int32_t> positions_of(const OpCall& call, std::span<const std::int32_t> chosen) {
  const std::vector<std::int32_t> positions =
      call.rank.program.experts.positions(call.layer(), moe_of(call).num_experts);
  std::vector<std::int32_t> out;
  out.reserve(chosen.size());
  for (const std::int32_t expert : chosen) out.push_back(positions[static_cast<std::size_t>(expert)]);
  return out;
}
std::vector<std::int32_t> experts_at(const OpCall& call, std::vector<std::int32_t> positions) {
  for (std::int32_t& at : positions) at = call.rank.program.experts.expert_at(call.layer(), at);
  return positions;
}

/// Sequence by sequence, as the loss of the head.
void add_auxiliary_loss(OpCall& call, const Matrix& scores) {
  const RouterShape shape = router_of(call);
  const SequenceCounts& all = call.routed().sequence_counts;
  for (std::int64_t i = 0; i < call.num_sequences(); ++i) {
    const RowPart sequence{i, call.num_sequences()};
    const std::span<const std::int64_t> counts = sequence.of(std::span<const std::int64_t>(all.counts));
    call.rank.totals.add_loss(auxiliary_loss(
        shape, sequence.of(scores), {all.rows, all.tokens, {counts.begin(), counts.end()}}, auxiliary_scale(call)));
  }
}

void forward(OpCall& call) {
  RankState& rank = call.rank;
  const RouterShape shape = router_of(call);
  const Matrix scores = call.tensor(R::scores);
  const std::int64_t block = scores.rows / call.num_sequences();
  router_scores(rank.gemm, shape, call.tensor(R::norm2), router_weight(call), router_bias(call), block, scores);
  std::vector<std::int32_t> chosen(static_cast<std::size_t>(scores.rows * shape.top_k));
  RoutedBatch& routed = call.routed();
  routed.probability.resize(chosen.size());
  router_choose(shape, scores, rank.weights.router_bias(call.layer()), chosen, routed.probability);
  if (rank.settings.balanced_routing) {
    choose_balanced(shape.num_experts, shape.top_k, static_cast<std::uint64_t>(call.layer()), chosen);
  }
  if (rank.replayed) take_choices(call, chosen);
  if (rank.settings.balanced_routing || rank.replayed) {
    router_probabilities(shape, scores, chosen, routed.probability);
  }
  const std::vector<std::int32_t> positions = positions_of(call, chosen);
  write_choices(positions, shape.num_experts, shape.top_k, call.elements<std::uint8_t>(R::choices));
  routed.send_counts.assign(static_cast<std::size_t>(shape.num_experts), 0);
  count_chosen(positions, routed.send_counts);
  routed.sequence_counts = sequence_counts(call, chosen, block);
  if (call.op.key.pass == Pass::rec) return;
  if (rank.recorded) note_choices(call, chosen);
  std::vector<std::int64_t>& counts = rank.totals.expert_counts[call.layer()];
  counts.resize(static_cast<std::size_t>(shape.num_experts));
  count_chosen(chosen, counts);
  add_auxiliary_loss(call, scores);
}

/// Of each token's choices; a dispatcher that sends rows over all experts brings such rows back.
std::vector<float> probability_gradients(const OpCall& call, std::span<const std::int32_t> positions) {
  const std::span<const float> given = call.elements<float>(R::d_probs);
  const Strategy& s = call.rank.strategy();
  if (s.dispatcher != Dispatcher::all_gather || s.ep == 1) return {given.begin(), given.end()};
  const auto top_k = static_cast<std::size_t>(moe_of(call).top_k);
  std::vector<float> taken(positions.size());
  for (std::size_t i = 0; i < positions.size(); ++i) {
    taken[i] =
        given[i / top_k * static_cast<std::size_t>(moe_of(call).num_experts) + static_cast<std::size_t>(positions[i])];
  }
  return taken;
}

void input_gradient(OpCall& call) {
  const RouterShape shape = router_of(call);
  const std::vector<std::int32_t> positions = chosen_of_call(call), chosen = experts_at(call, positions);
  const Matrix scores = call.tensor(R::scores);
  const std::int64_t block = scores.rows / call.num_sequences();
  std::vector<float> d_scores(static_cast<std::size_t>(scores.rows * scores.cols));
  auxiliary_loss_backward(shape, scores, call.routed().sequence_counts, auxiliary_scale(call), d_scores);
  const Matrix d_logits = call.tensor(R::d_router_logits);
  router_backward(shape, scores, chosen, probability_gradients(call, positions), d_scores, d_logits);
  const Matrix d_norm = call.tensor(R::d_norm2);
  thread_local std::vector<std::byte> scratch;
  const Matrix more = scratch_like(d_norm, scratch);
  router_igrad(call.rank.gemm, d_logits, router_weight(call), block, more);
  add(d_norm, more, d_norm);
}

}  // namespace

void run_router(OpCall& call) {
  if (call.is_forward()) return forward(call);
  if (!call.is_wgrad()) return input_gradient(call);
  const Matrix d_logits = call.tensor(R::d_router_logits);
  const Matrix x = call.tensor(R::norm2);
  call.accumulate(W::router, [&](Matrix sum, const RowPart& part) {
    router_wgrad(call.rank.gemm, part.of(d_logits), part.of(x), sum);
  });
  if (call.has_weight(W::router_linear_bias)) {
    call.accumulate_vector(W::router_linear_bias, [&](std::span<float> sum, const RowPart& part) {
      router_bias_wgrad(part.of(d_logits), sum);
    });
  }
}

/// The norm that the gate reads is no operand of its backward, but alive: the shared experts' weight gradient is still
/// to come.
void run_shared_gate(OpCall& call) {
  const ConstMatrix weight = call.weight(W::shared_gate);
  const std::span<float> gate = call.elements<float>(R::shared_gate);
  if (call.is_forward()) {
    shared_gate_forward(call.tensor(R::norm2), weight, call.tensor(R::shared_out), gate);
    return;
  }
  const TensorIndex norm = call.rank.tensors.alive(R::norm2, call.layer(), call.op.key.micro_batch);
  const Matrix x = call.rank.tensors.matrix(norm);
  call.accumulate_vector(W::shared_gate, [&](std::span<float> sum, const RowPart& part) {
    shared_gate_backward(part.of(x), weight, part.of(call.tensor(R::shared_out)), part.of(gate),
                         part.of(call.operand(0)), part.of(call.tensor(R::d_shared_out)),
                         part.of(call.tensor(R::d_norm2)), sum);
  });
}

}  // namespace orrery::executor
