// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/dispatch.h"

#include "base/check.h"
#include "executor/kernels/permute.h"
#include "executor/runtime/run_moe.h"

#include <algorithm>
#include <numeric>

namespace orrery::executor {

const DispatchFunctions& dispatch_of(const Strategy& s) {
  if (s.ep == 1) return kAllToAllDispatch;  // nothing travels, whoever would carry it
  switch (s.dispatcher) {
    case Dispatcher::all_to_all:
      return kAllToAllDispatch;
    case Dispatcher::all_gather:
      return kAllGatherDispatch;
    case Dispatcher::two_level:
      return kTwoLevelDispatch;
  }
  CHECK(false, static_cast<int>(s.dispatcher));
}

const MoeBlock& moe_of(const OpCall& call) { return *call.rank.model().moe; }

std::int64_t num_local_experts(const OpCall& call) { return moe_of(call).num_experts / call.rank.strategy().ep; }

std::vector<std::int32_t> chosen_of_call(const OpCall& call) {
  return chosen_of(call.elements<std::uint8_t>(TensorRole::choices), moe_of(call).num_experts, moe_of(call).top_k);
}

void set_receive_counts(OpCall& call, std::vector<std::int64_t> counts) {
  RoutedBatch& routed = call.routed();
  routed.receive_counts = std::move(counts);
  const std::int64_t local = num_local_experts(call);
  routed.offsets.resize(static_cast<std::size_t>(local + 1));
  expert_offsets(routed.receive_counts, local, routed.offsets);
  routed.arrived.received = routed.arrived.gathered = routed.offsets.back();
}

void permute_tokens(OpCall& call, const LocalRows& rows, TensorRole probs,
                    const std::function<std::int64_t(const LocalPair&)>& place) {
  if (call.is_forward()) {
    rows.copy_to_experts(call.tensor(TensorRole::recv_rows), call.tensor(TensorRole::expert_in));
    const std::span<const float> given = call.elements<float>(probs);
    const std::span<float> taken = call.elements<float>(TensorRole::expert_probs);
    rows.for_each([&](const LocalPair& pair, std::int64_t row) {
      taken[static_cast<std::size_t>(row)] = given[static_cast<std::size_t>(place(pair))];
    });
    return;
  }
  rows.sum_to_tokens(call.tensor(TensorRole::d_expert_in), call.tensor(TensorRole::d_recv_rows));
  const std::span<const float> given = call.elements<float>(TensorRole::d_expert_probs);
  const std::span<float> taken = call.elements<float>(TensorRole::d_recv_probs);
  std::fill(taken.begin(), taken.end(), 0.0F);
  rows.for_each([&](const LocalPair& pair, std::int64_t row) {
    taken[static_cast<std::size_t>(place(pair))] = given[static_cast<std::size_t>(row)];
  });
}

void unpermute_tokens(OpCall& call, const LocalRows& rows) {
  if (call.is_forward()) {
    rows.sum_to_tokens(call.tensor(TensorRole::expert_out), call.tensor(TensorRole::back_rows));
  } else {
    rows.copy_to_experts(call.tensor(TensorRole::d_back_rows), call.tensor(TensorRole::d_expert_out));
  }
}

namespace {

/// Every rank of an ETP group tells the others its counts: 32 bits per (source rank, local expert).
void learn_gathered_rows(OpCall& call) {
  RoutedBatch& routed = call.routed();
  Communicator& group = call.group();
  const std::size_t size = routed.receive_counts.size();
  std::vector<std::int32_t> own(routed.receive_counts.begin(), routed.receive_counts.end());
  std::vector<std::int32_t> all(size * static_cast<std::size_t>(group.size()));
  if (call.rank.strategy().capacity_factor) {  // every rank has as many
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = own[i % size];
  } else {
    call.add_report(group.all_gather(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all)), call.key));
  }
  const std::int64_t local = num_local_experts(call);
  routed.etp_counts.clear();
  for (std::size_t member = 0; member < static_cast<std::size_t>(group.size()); ++member) {
    const auto counts = std::span(all).subspan(member * size, size);
    routed.etp_counts.emplace_back(counts.begin(), counts.end());
  }
  routed.arrived.gathered = std::accumulate(all.begin(), all.end(), std::int64_t{0});
  std::fill(routed.offsets.begin(), routed.offsets.end(), 0);
  for (std::size_t i = 0; i < all.size(); ++i) routed.offsets[i % static_cast<std::size_t>(local) + 1] += all[i];
  std::partial_sum(routed.offsets.begin(), routed.offsets.end(), routed.offsets.begin());
}

}  // namespace

void learn_arriving_rows(OpCall& call) {
  if (!call.is_forward()) return;
  const OpCode op = call.op.key.op;
  if (op == OpCode::moe_permute || op == OpCode::moe_dispatch) dispatch_of(call.rank.strategy()).learn(call);
  if (op == OpCode::etp_gather) learn_gathered_rows(call);
}

void run_permute(OpCall& call) { dispatch_of(call.rank.strategy()).permute(call); }
void run_dispatch(OpCall& call) { dispatch_of(call.rank.strategy()).dispatch(call); }
void run_combine(OpCall& call) { dispatch_of(call.rank.strategy()).combine(call); }
void run_unpermute(OpCall& call) { dispatch_of(call.rank.strategy()).unpermute(call); }

}  // namespace orrery::executor
