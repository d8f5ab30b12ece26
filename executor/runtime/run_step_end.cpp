// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/run_step_end.h"

#include "base/check.h"
#include "executor/kernels/balance.h"
#include "executor/kernels/square_sum.h"
#include "executor/runtime/run_tensor_parallel.h"

#include <bit>
#include <cmath>
#include <numeric>

namespace orrery::executor {
namespace {

using R = TensorRole;

/// A row of zeros: places that nobody owns add nothing.
Matrix zeros(std::vector<std::byte>& storage, DType dtype, std::int64_t count) {
  storage.assign(static_cast<std::size_t>(count * size_of(dtype)), std::byte{0});
  return {storage.data(), dtype, 1, count, count};
}

Matrix part(const Matrix& row, std::int64_t first, std::int64_t count) { return row.col_block(first, count); }

/// Whole gradients as they are scattered: the shard of rank 0, then that of rank 1, ...
void pack_shards(FlatState& state, const Matrix& packed) {
  const ShardLayout& shards = state.shards();
  std::int64_t first = 0;
  for (std::int64_t rank = 0; rank < shards.num_ranks(); first += shards.size(rank++)) {
    for (const OwnedRange& range : shards.of(rank)) {
      convert(state.gradients(state.parameter_at(range), range.begin, range.count),
              part(packed, first + range.slot, range.count));
    }
  }
}

/// One block of bytes for each shard.
Blocks shard_blocks(const FlatState& state, DType dtype) {
  const std::span<const std::int64_t> sizes = state.shards().sizes();
  return Blocks::contiguous({sizes.begin(), sizes.end()}, size_of(dtype));
}

std::int64_t elements_of(const FlatState& state) {
  const std::span<const std::int64_t> sizes = state.shards().sizes();
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
}

void pack_own(FlatState& state, const Matrix& shard) {
  for (const OwnedRange& range : state.owned()) {
    convert(state.gradients(state.parameter_at(range), range.begin, range.count), part(shard, range.slot, range.count));
  }
}

void unpack_own(FlatState& state, const Matrix& shard) {
  for (const OwnedRange& range : state.owned()) {
    convert(part(shard, range.slot, range.count), state.gradients(state.parameter_at(range), range.begin, range.count));
  }
}

bool is_of_unit(const OpCall& call) { return call.op.key.micro_batch >= 0; }

/// The copy of all gradients in the type in which they travel, if the op has one.
std::optional<Matrix> wire_copy(const OpCall& call) {
  for (const R role : {R::wire_grads, R::expert_wire_grads}) {
    if (call.uses_role(role)) return as_row(call.tensor(role));
  }
  return std::nullopt;
}

/// Whether a kind's gradients are cut into shards when they travel.
bool is_packed(const FlatState& state) { return state.kind().zero >= 1 && state.shards().num_ranks() > 1; }

/// Sums the chosen parts of dense weights over a group that holds them all. `bytes`: of the message, which may have
/// room for more than this rank owns.
template <class Chosen>
void sum_chosen(OpCall& call, std::int64_t bytes, Chosen&& chosen) {
  FlatState& state = call.rank.weights.dense();
  const DType type = state.kind().gradient;
  std::vector<std::byte> storage;
  const Matrix message = zeros(storage, type, bytes / size_of(type));
  const auto for_each = [&](auto&& work) {
    std::int64_t next = 0;
    for (std::size_t i = 0; i < state.parameters().size(); ++i) {
      const LocalParameter& p = state.parameters()[i];
      if (!chosen(p)) continue;
      const auto index = static_cast<std::int64_t>(i);
      const OwnedRange mine = state.shards_gradients() ? state.owned_of(index) : OwnedRange{.count = p.size()};
      work(state.gradients(index, mine.begin, mine.count), part(message, next, mine.count));
      next += mine.count;
    }
  };
  for_each([](const Matrix& gradient, const Matrix& place) { convert(gradient, place); });
  call.report = all_reduce(call.group(), message, call.key);
  for_each([](const Matrix& gradient, const Matrix& place) { convert(place, gradient); });
}

/// Factor that brings the gradient to the clipping norm; 1 if it is not above it.
float gradient_scale(const RankState& rank) {
  const double norm = std::sqrt(rank.totals.squares), limit = rank.settings.clip_norm;
  return limit > 0.0 && norm > limit ? static_cast<float>(limit / norm) : 1.0F;
}

std::int64_t message_bytes(const OpCall& call) { return std::get<CollectiveShape>(call.shape()).bytes; }

}  // namespace

bool is_of_experts(OpCode op) {
  return op == OpCode::edp_grad_rs || op == OpCode::edp_grad_ar || op == OpCode::edp_replica_ar ||
         op == OpCode::edp_grad_cast || op == OpCode::edp_param_ag || op == OpCode::adamw_expert ||
         op == OpCode::muon_expert;
}

FlatState& state_of(OpCall& call) {
  return is_of_experts(call.op.key.op) ? call.rank.weights.expert() : call.rank.weights.dense();
}

void run_gradient_cast(OpCall& call) {
  FlatState& state = state_of(call);
  const Matrix copy = wire_copy(call).value();
  if (is_packed(state)) {
    fill_zero(copy);
    pack_shards(state, copy);
  } else {
    convert(state.all_gradients(), copy);
  }
}

void run_gradient_scatter(OpCall& call) {
  if (is_of_unit(call)) return scatter_unit_gradients(call);
  if (is_bucket(call)) return scatter_bucket(call);
  FlatState& state = state_of(call);
  std::vector<std::byte> storage, own_storage;
  std::optional<Matrix> packed = wire_copy(call);
  if (!packed) {
    packed = zeros(storage, state.kind().gradient, elements_of(state));
    pack_shards(state, *packed);
  }
  const Matrix own = zeros(own_storage, packed->dtype, state.shards().size(call.group().rank()));
  call.report = call.group().reduce_scatter_v(sum_type_of(own), bytes_of(*packed), shard_blocks(state, own.dtype),
                                              bytes_of(own), call.key);
  unpack_own(state, own);
}

void run_gradient_all_reduce(OpCall& call) {
  if (is_bucket(call)) return reduce_bucket(call);
  FlatState& state = state_of(call);
  const Matrix all = state.all_gradients();
  const std::optional<Matrix> copy = wire_copy(call);
  call.report = all_reduce(call.group(), copy.value_or(all), call.key);
  if (copy) convert(*copy, all);
}

void run_replica_all_reduce(OpCall& call) {
  if (is_of_unit(call)) return reduce_unit_replicas(call);
  if (is_bucket(call)) return reduce_bucket_replicas(call);
  FlatState& state = state_of(call);
  std::vector<std::byte> storage;
  const std::int64_t index = call.rank.program.mesh.index_in_group(state.kind().shard, call.rank.view.rank);
  const Matrix shard = zeros(storage, state.kind().wire, state.shards().size(index));
  pack_own(state, shard);
  call.report = all_reduce(call.group(), shard, call.key);
  unpack_own(state, shard);
}

void run_weight_gather(OpCall& call) {
  if (is_of_unit(call)) return gather_unit_weights(call);
  if (is_bucket(call)) return gather_bucket(call);
  FlatState& state = state_of(call);
  const ShardLayout& shards = state.shards();
  std::vector<std::byte> own_storage, storage;
  const Matrix own = zeros(own_storage, state.kind().weight, shards.size(call.group().rank()));
  const Matrix all = zeros(storage, state.kind().weight, elements_of(state));
  for (const OwnedRange& range : state.owned()) {
    convert(state.weights(state.parameter_at(range), range.begin, range.count), part(own, range.slot, range.count));
  }
  call.report = call.group().all_gather_v(bytes_of(own), bytes_of(all), shard_blocks(state, own.dtype), call.key);
  std::int64_t first = 0;
  for (std::int64_t rank = 0; rank < shards.num_ranks(); first += shards.size(rank++)) {
    for (const OwnedRange& range : shards.of(rank)) {
      convert(part(all, first + range.slot, range.count),
              state.weights(state.parameter_at(range), range.begin, range.count));
    }
  }
}

namespace {

/// Where the states of the op's kind are: null for where they always are; with offload, what has come from the host.
float* states_of(OpCall& call) {
  if (!call.rank.device_states) return nullptr;
  float* const states = call.rank.tensors.elements<float>(*call.rank.device_states).data();
  return is_of_experts(call.op.key.op) ? states + call.rank.weights.dense().states().size() : states;
}

}  // namespace

void run_update(OpCall& call) {
  state_of(call).update(call.rank.settings.adamw, call.rank.step + 1, gradient_scale(call.rank), states_of(call));
}

/// Of a pair of sides the program has two batches, since the iterations have two kinds of products; they depend on each
/// other, so the first op does all of them.
void run_muon(OpCall& call) {
  const AdamWSettings& adamw = call.rank.settings.adamw;
  const MuonSettings settings{.learning_rate = adamw.learning_rate, .weight_decay = adamw.weight_decay};
  const std::int64_t batch = call.op.key.bucket;
  if (batch < 0) {
    state_of(call).update_orthogonalised(settings, states_of(call));
  } else if (batch % 2 == 0) {
    state_of(call).orthogonalise(call.rank.gemm, settings, batch / 2, gradient_scale(call.rank), states_of(call));
  }
}

void run_repeated_gradients(OpCall& call) {
  const bool all = call.rank.strategy().sp;
  sum_chosen(call, message_bytes(call), [all](const LocalParameter& p) {
    const bool of_heads = p.whole.role == WeightRole::q_norm || p.whole.role == WeightRole::k_norm;
    return p.whole.split == Split::none && (all || of_heads);
  });
  sum_copied_heads(call);
}

void run_shared_gradients(OpCall& call) {
  sum_chosen(call, message_bytes(call), [](const LocalParameter& p) { return p.shared_by_stages; });
}

void run_bias_counts(OpCall& call) {
  std::vector<std::int64_t> all;
  for (const auto& [layer, counts] : call.rank.totals.expert_counts)
    all.insert(all.end(), counts.begin(), counts.end());
  call.report = call.group().all_reduce(std::span(all), call.key);
  auto next = all.begin();
  for (auto& [layer, counts] : call.rank.totals.expert_counts) {
    std::copy_n(next, counts.size(), counts.begin());
    next += static_cast<std::ptrdiff_t>(counts.size());
  }
}

/// Squares of this rank's gradient shard, as one exact integer, with an overflow flag above the loss in the second.
void run_norm_local(OpCall& call) {
  RankState& rank = call.rank;
  SquareSum squares;
  rank.weights.dense().add_squares(squares);
  rank.weights.expert().add_squares(squares);
  const std::array<std::uint64_t, 3> words = squares.words();
  rank.totals.reduce_values[0] = static_cast<Int128>(words[1]) << 64 | static_cast<Int128>(words[0]);
  rank.totals.reduce_values[1] = (static_cast<Int128>(words[2]) << 100) + rank.totals.loss;
}

void run_norm_reduce(OpCall& call) {
  RankState& rank = call.rank;
  call.report = call.group().all_reduce(std::span<Int128>(rank.totals.reduce_values), call.key);
  const Int128 squares = rank.totals.reduce_values[0], second = rank.totals.reduce_values[1];
  const Int128 overflows = (second + (static_cast<Int128>(1) << 99)) >> 100;
  rank.totals.squares = SquareSum::from_words({static_cast<std::uint64_t>(squares),
                                               static_cast<std::uint64_t>(squares >> 64), overflows > 0 ? 1U : 0U})
                            .value();
  rank.totals.global_loss = static_cast<double>(second - (overflows << 100)) * StepTotals::kLossUnit;
}

void run_bias_update(OpCall& call) {
  for (const auto& [layer, counts] : call.rank.totals.expert_counts) {
    update_selection_bias(counts, call.rank.settings.bias_update_rate, call.rank.weights.router_bias(layer));
  }
}

}  // namespace orrery::executor
