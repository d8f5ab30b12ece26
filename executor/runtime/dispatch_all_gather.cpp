// SPDX-License-Identifier: Apache-2.0
// Every rank of the EP group gets the tokens of all and picks those of its experts; what its experts make of a token is
// summed where they are, and those sums are scattered back. Probabilities travel as a row over all experts.
#include "base/check.h"
#include "executor/runtime/dispatch.h"
#include "executor/runtime/run_tensor_parallel.h"

namespace orrery::executor {
namespace {

using R = TensorRole;

/// The choices of the arrived tokens that are of this rank's experts.
LocalRows rows_of_call(const OpCall& call) {
  const std::span<const std::uint8_t> choices = call.elements<std::uint8_t>(R::recv_choices);
  const std::int64_t local = num_local_experts(call), first = call.rank.view.coords.ep * local;
  const auto experts = static_cast<std::size_t>(moe_of(call).num_experts);
  const std::size_t tokens = choices.size() / experts;
  const std::size_t per_source = tokens / static_cast<std::size_t>(ep_of(call));
  std::vector<LocalPair> pairs;
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::int64_t e = first; e < first + local; ++e) {
      const std::uint8_t choice = choices[t * experts + static_cast<std::size_t>(e)];
      if (choice == 0) continue;
      pairs.push_back({.token = static_cast<std::int64_t>(t),
                       .expert = e - first,
                       .choice = choice - 1,
                       .source = static_cast<std::int64_t>(t / per_source)});
    }
  }
  return LocalRows(std::move(pairs), ep_of(call), local);
}

/// Place of a pair's probability in rows over all experts.
std::int64_t place_of(const OpCall& call, const LocalPair& pair) {
  const std::int64_t expert = call.rank.view.coords.ep * num_local_experts(call) + pair.expert;
  return pair.token * moe_of(call).num_experts + expert;
}

void learn(OpCall& call) {
  if (call.op.key.op == OpCode::moe_permute) set_receive_counts(call, rows_of_call(call).counts());
}

void dispatch(OpCall& call) {
  Communicator& group = call.group();
  if (!call.is_forward()) {
    const auto scatter = [&](const Matrix& all, const Matrix& own) {
      call.add_report(group.reduce_scatter(sum_type_of(all), bytes_of(all), bytes_of(own), call.key));
    };
    scatter(call.tensor(R::d_recv_rows), call.tensor(R::d_norm2));
    scatter(call.tensor(R::d_recv_probs), call.tensor(R::d_probs));
    return;
  }
  call.add_report(group.all_gather(bytes_of(call.tensor(R::norm2)), bytes_of(call.tensor(R::recv_rows)), call.key));
  const std::span<const std::uint8_t> choices = call.elements<std::uint8_t>(R::choices);
  RoutedBatch& routed = call.routed();
  const auto top_k = static_cast<std::size_t>(moe_of(call).top_k);
  const auto experts = static_cast<std::size_t>(moe_of(call).num_experts);
  std::vector<float> probabilities(choices.size());
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (choices[i] > 0) probabilities[i] = routed.probability[i / experts * top_k + choices[i] - 1];
  }
  routed.probability = {};
  call.add_report(group.all_gather(std::as_bytes(std::span(probabilities)),
                                   std::as_writable_bytes(call.elements<float>(R::recv_scores)), call.key));
  call.add_report(group.all_gather(std::as_bytes(choices),
                                   std::as_writable_bytes(call.elements<std::uint8_t>(R::recv_choices)), call.key));
}

void permute(OpCall& call) {
  permute_tokens(call, rows_of_call(call), R::recv_scores, [&](const LocalPair& pair) { return place_of(call, pair); });
}

void unpermute(OpCall& call) { unpermute_tokens(call, rows_of_call(call)); }

void combine(OpCall& call) {
  Communicator& group = call.group();
  const Matrix from = call.operand(0), to = call.operand(-1);
  if (!call.is_forward()) {
    call.report = group.all_gather(bytes_of(from), bytes_of(to), call.key);
    return;
  }
  call.report = group.reduce_scatter(sum_type_of(from), bytes_of(from), bytes_of(to), call.key);
}

}  // namespace

const DispatchFunctions kAllGatherDispatch = {permute, dispatch, combine, unpermute, learn};

}  // namespace orrery::executor
