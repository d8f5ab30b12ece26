// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "executor/kernels/permute.h"
#include "executor/runtime/dispatch.h"

#include <cmath>
#include <numeric>

namespace orrery::executor {
namespace {

using R = TensorRole;

bool exchanges(const OpCall& call) { return ep_of(call) > 1; }

/// Places of each expert for the tokens of one rank; nothing: every token has one.
/// Source: Megatron-LM, get_capacity.
std::optional<std::int64_t> capacity_of(const OpCall& call, std::size_t num_pairs) {
  const std::optional<double>& factor = call.rank.strategy().capacity_factor;
  if (!factor) return std::nullopt;
  return static_cast<std::int64_t>(
      std::ceil(static_cast<double>(num_pairs) / static_cast<double>(moe_of(call).num_experts) * *factor));
}

/// Slot of each (token, choice) in the buffer that leaves this rank; -1 where the expert is full.
std::vector<std::int64_t> slots_of_call(const OpCall& call) {
  const std::vector<std::int32_t> chosen = chosen_of_call(call);
  std::vector<std::int64_t> slots(chosen.size()), counts(static_cast<std::size_t>(moe_of(call).num_experts));
  if (const auto capacity = capacity_of(call, chosen.size())) {
    capacity_slots(chosen, call.routed().kept, *capacity, slots);
  } else {
    send_slots(chosen, counts, slots);
  }
  return slots;
}

/// Rows and probabilities that leave this rank; without EP they are already where the experts take them.
void permute(OpCall& call) {
  if (call.is_forward()) {
    const std::vector<std::int64_t> slots = slots_of_call(call);
    RoutedBatch& routed = call.routed();
    scatter_rows(call.tensor(R::norm2), slots, call.tensor(exchanges(call) ? R::send_rows : R::expert_in));
    scatter_values(routed.probability, slots, call.elements<float>(exchanges(call) ? R::send_probs : R::expert_probs));
    routed.probability = {};
    return;
  }
  const std::vector<std::int64_t> slots = slots_of_call(call);
  combine_rows(call.tensor(exchanges(call) ? R::d_send_rows : R::d_expert_in), slots, call.tensor(R::d_norm2));
  gather_values(call.elements<float>(exchanges(call) ? R::d_send_probs : R::d_expert_probs), slots,
                call.elements<float>(R::d_probs));
}

void unpermute(OpCall& call) {
  const std::vector<std::int64_t> slots = slots_of_call(call);
  if (call.is_forward()) {
    combine_rows(call.tensor(exchanges(call) ? R::combined_rows : R::expert_out), slots, call.tensor(R::moe_out));
  } else {
    scatter_rows(call.operand(0), slots, call.operand(-1));
  }
}

/// Counts of rows summed over the experts of each rank, times `row_bytes`.
Blocks blocks_by_rank(std::span<const std::int64_t> counts, std::int64_t ranks, std::int64_t row_bytes) {
  const std::size_t per_rank = counts.size() / static_cast<std::size_t>(ranks);
  std::vector<std::int64_t> rows;
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(ranks); ++rank) {
    const auto mine = counts.subspan(rank * per_rank, per_rank);
    rows.push_back(std::accumulate(mine.begin(), mine.end(), std::int64_t{0}));
  }
  return Blocks::contiguous(std::move(rows), row_bytes);
}

/// Moves one row per (token, choice): towards the experts, or back.
void exchange(OpCall& call, Matrix at_tokens, Matrix at_experts, bool to_experts) {
  const RoutedBatch& routed = call.routed();
  const std::int64_t row = at_tokens.cols * size_of(at_tokens.dtype);
  const Blocks outside = blocks_by_rank(routed.send_counts, ep_of(call), row);
  const Blocks inside = blocks_by_rank(routed.receive_counts, ep_of(call), row);
  thread_local std::vector<std::byte> staging;
  const Matrix by_source = scratch_like(at_experts, staging);
  if (to_experts) {
    call.add_report(call.group().all_to_all_v(bytes_of(at_tokens), outside, staging, inside, call.key));
    sort_by_expert(routed.receive_counts, num_local_experts(call), by_source, at_experts);
  } else {
    unsort_by_expert(routed.receive_counts, num_local_experts(call), at_experts, by_source);
    call.add_report(call.group().all_to_all_v(staging, inside, bytes_of(at_tokens), outside, call.key));
  }
}

void dispatch(OpCall& call) {
  if (call.is_forward()) {
    exchange(call, call.tensor(R::send_rows), call.tensor(R::expert_in), true);
    exchange(call, call.column(R::send_probs), call.column(R::expert_probs), true);
  } else {
    exchange(call, call.tensor(R::d_send_rows), call.tensor(R::d_expert_in), false);
    exchange(call, call.column(R::d_send_probs), call.column(R::d_expert_probs), false);
  }
}

void combine(OpCall& call) {
  if (call.is_forward()) {
    exchange(call, call.tensor(R::combined_rows), call.tensor(R::expert_out), false);
  } else {
    exchange(call, call.tensor(R::d_combined_rows), call.tensor(R::d_expert_out), true);
  }
}

/// Rows for each expert, by its position: of all tokens here, or sequence by sequence where gradients have a term for
/// each sequence.
std::vector<std::int32_t> counts_to_tell(const OpCall& call) {
  const RoutedBatch& routed = call.routed();
  if (!call.adds_by_sequence()) return {routed.send_counts.begin(), routed.send_counts.end()};
  const std::vector<std::int64_t>& chosen = routed.sequence_counts.counts;
  const auto num_experts = static_cast<std::size_t>(moe_of(call).num_experts);
  const std::vector<std::int32_t> positions =
      call.rank.program.experts.positions(call.layer(), moe_of(call).num_experts);
  std::vector<std::int32_t> counts(chosen.size());
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const std::size_t expert = i % num_experts;
    counts[i - expert + static_cast<std::size_t>(positions[expert])] = static_cast<std::int32_t>(chosen[i]);
  }
  return counts;
}

/// Takes counts per (source rank, sequence, local expert), of one or several sequences of each source.
void set_counts(OpCall& call, std::span<const std::int32_t> counts) {
  const auto local = static_cast<std::size_t>(num_local_experts(call)), ranks = static_cast<std::size_t>(ep_of(call));
  const std::size_t num_sequences = counts.size() / local / ranks;
  std::vector<std::int64_t> received(local * ranks), by_sequence(counts.size());
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::size_t expert = i % local, sequence = i / local % num_sequences, source = i / local / num_sequences;
    received[source * local + expert] += counts[i];
    by_sequence[(expert * ranks + source) * num_sequences + sequence] = counts[i];
  }
  call.routed().sequence_rows = std::move(by_sequence);
  set_receive_counts(call, std::move(received));
}

/// With a capacity every expert gets as many rows from each rank, and which tokens they are is decided here: those
/// with the largest probabilities. Source: Megatron-LM, moe_token_drop_policy "probs".
void learn(OpCall& call) {
  RoutedBatch& routed = call.routed();
  const OpCode op = call.op.key.op;
  if (op == OpCode::moe_permute) {
    if (const auto capacity = capacity_of(call, routed.probability.size())) {
      routed.kept = kept_pairs(chosen_of_call(call), routed.probability, moe_of(call).num_experts, *capacity);
      routed.send_counts.assign(static_cast<std::size_t>(moe_of(call).num_experts), *capacity);
      if (!exchanges(call)) set_receive_counts(call, routed.send_counts);
    } else if (!exchanges(call)) {
      set_counts(call, counts_to_tell(call));
    }
    return;
  }
  const auto local = static_cast<std::size_t>(num_local_experts(call));
  if (call.rank.strategy().capacity_factor) {
    set_receive_counts(
        call, std::vector<std::int64_t>(local * static_cast<std::size_t>(ep_of(call)), routed.send_counts.front()));
    return;
  }
  // 32-bit counts of the rows for each expert go to the rank that has it.
  const std::vector<std::int32_t> counts = counts_to_tell(call);
  const auto num_experts = static_cast<std::size_t>(moe_of(call).num_experts);
  const std::size_t num_sequences = counts.size() / num_experts;
  std::vector<std::int32_t> sent(counts.size()), received(counts.size());  // (rank, sequence, local expert)
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::size_t sequence = i / num_experts, rank = i % num_experts / local, expert = i % local;
    sent[(rank * num_sequences + sequence) * local + expert] = counts[i];
  }
  const Blocks blocks =
      Blocks::even(ep_of(call), static_cast<std::int64_t>(num_sequences * local * sizeof(std::int32_t)));
  call.add_report(call.group().all_to_all_v(std::as_bytes(std::span(sent)), blocks,
                                            std::as_writable_bytes(std::span(received)), blocks, call.key));
  set_counts(call, received);
}

}  // namespace

const DispatchFunctions kAllToAllDispatch = {permute, dispatch, combine, unpermute, learn};

}  // namespace orrery::executor
