// SPDX-License-Identifier: Apache-2.0
// A token goes once to every rank that has one of its experts, with the choices and probabilities that are that rank's;
// what its experts make of the token is summed there and comes back as one row. The ranks of this executor are on one
// node, so the level between nodes, where a token would go once to each of them, is not seen. Beside the rows every
// rank tells every other how many come (4 bytes).
#include "base/check.h"
#include "executor/runtime/dispatch.h"

#include <numeric>

namespace orrery::executor {
namespace {

using R = TensorRole;

SentTokens sent_tokens(const OpCall& call, std::span<const std::int32_t> chosen) {
  const auto top_k = static_cast<std::size_t>(moe_of(call).top_k);
  const std::int64_t local = num_local_experts(call);
  SentTokens sent{.tokens = {}, .counts = std::vector<std::int64_t>(static_cast<std::size_t>(ep_of(call)))};
  for (std::int64_t rank = 0; rank < ep_of(call); ++rank) {
    for (std::size_t t = 0; t < chosen.size() / top_k; ++t) {
      const auto mine = chosen.subspan(t * top_k, top_k);
      if (std::none_of(mine.begin(), mine.end(), [&](std::int32_t e) { return e / local == rank; })) continue;
      sent.tokens.push_back(static_cast<std::int64_t>(t));
      ++sent.counts[static_cast<std::size_t>(rank)];
    }
  }
  return sent;
}

/// Sends rows of `width` elements: `out` holds them rank by rank.
template <class T>
void send(OpCall& call, const SentTokens& sent, std::span<T> there, std::span<T> here, std::int64_t width, bool back) {
  const auto row = width * static_cast<std::int64_t>(sizeof(T));
  const Blocks outside = Blocks::contiguous(sent.counts, row),
               inside = Blocks::contiguous(call.routed().tokens_from, row);
  if (back) {
    call.add_report(
        call.group().all_to_all_v(std::as_bytes(here), inside, std::as_writable_bytes(there), outside, call.key));
  } else {
    call.add_report(
        call.group().all_to_all_v(std::as_bytes(there), outside, std::as_writable_bytes(here), inside, call.key));
  }
}

void send_rows(OpCall& call, const SentTokens& sent, const Matrix& tokens, const Matrix& here) {
  thread_local std::vector<std::byte> storage;
  const Matrix out = scratch_of(tokens.dtype, static_cast<std::int64_t>(sent.tokens.size()), tokens.cols, storage);
  for (std::int64_t i = 0; i < out.rows; ++i) {
    convert(tokens.row_block(sent.tokens[static_cast<std::size_t>(i)], 1), out.row_block(i, 1));
  }
  send(call, sent, bytes_of(out), bytes_of(here), tokens.cols * size_of(tokens.dtype), false);
}

/// The rows that come back to a token are summed in the order of the ranks, in f32, rounded once.
void receive_sums(OpCall& call, const SentTokens& sent, const Matrix& here, const Matrix& tokens) {
  thread_local std::vector<std::byte> storage;
  const Matrix in = scratch_of(tokens.dtype, static_cast<std::int64_t>(sent.tokens.size()), tokens.cols, storage);
  send(call, sent, bytes_of(in), bytes_of(here), tokens.cols * size_of(tokens.dtype), true);
  std::vector<float> sums(static_cast<std::size_t>(tokens.rows * tokens.cols));
  const Matrix sum = matrix_of(sums.data(), tokens.rows, tokens.cols);
  for (std::int64_t i = 0; i < in.rows; ++i) {
    const Matrix row = sum.row_block(sent.tokens[static_cast<std::size_t>(i)], 1);
    add(row, in.row_block(i, 1), row);
  }
  convert(sum, tokens);
}

void learn(OpCall& call) {
  RoutedBatch& routed = call.routed();
  if (call.op.key.op == OpCode::moe_permute) {
    const std::span<const std::int64_t> experts = call.elements<std::int64_t>(R::recv_choices);
    std::vector<std::int64_t> counts(static_cast<std::size_t>(ep_of(call) * num_local_experts(call)));
    std::size_t next = 0;
    for (std::int64_t source = 0; source < ep_of(call); ++source) {
      const std::int64_t places = routed.tokens_from[static_cast<std::size_t>(source)] * moe_of(call).top_k;
      for (std::int64_t i = 0; i < places; ++i, ++next) {
        if (experts[next] >= 0) ++counts[static_cast<std::size_t>(source * num_local_experts(call) + experts[next])];
      }
    }
    set_receive_counts(call, std::move(counts));
    return;
  }
  routed.sent = sent_tokens(call, chosen_of_call(call));
  const SentTokens& sent = routed.sent;
  std::vector<std::int32_t> out(sent.counts.begin(), sent.counts.end()), in(out.size());
  const Blocks one_each = Blocks::even(std::ssize(out), sizeof(std::int32_t));
  call.add_report(call.group().all_to_all_v(std::as_bytes(std::span(out)), one_each,
                                            std::as_writable_bytes(std::span(in)), one_each, call.key));
  routed.tokens_from.assign(in.begin(), in.end());
  routed.arrived.distinct = std::accumulate(in.begin(), in.end(), std::int64_t{0});
}

void dispatch(OpCall& call) {
  const SentTokens& sent = call.routed().sent;
  const auto top_k = static_cast<std::size_t>(moe_of(call).top_k);
  if (!call.is_forward()) {
    receive_sums(call, sent, call.tensor(R::d_recv_rows), call.tensor(R::d_norm2));
    std::vector<float> back(sent.tokens.size() * top_k);
    send(call, sent, std::span(back), call.elements<float>(R::d_recv_probs), moe_of(call).top_k, true);
    const std::span<float> d_probs = call.elements<float>(R::d_probs);
    std::fill(d_probs.begin(), d_probs.end(), 0.0F);
    for (std::size_t i = 0; i < back.size(); ++i) {
      d_probs[static_cast<std::size_t>(sent.tokens[i / top_k]) * top_k + i % top_k] += back[i];  // one of them is not 0
    }
    return;
  }
  send_rows(call, sent, call.tensor(R::norm2), call.tensor(R::recv_rows));
  const std::vector<std::int32_t> chosen = chosen_of_call(call);
  RoutedBatch& routed = call.routed();
  std::vector<float> probabilities(sent.tokens.size() * top_k);
  std::vector<std::int64_t> experts(probabilities.size());
  std::size_t next = 0;
  for (std::int64_t rank = 0; rank < ep_of(call); ++rank) {
    for (std::int64_t i = 0; i < sent.counts[static_cast<std::size_t>(rank)]; ++i) {
      const std::size_t first = static_cast<std::size_t>(sent.tokens[next / top_k]) * top_k;
      for (std::size_t j = 0; j < top_k; ++j, ++next) {
        const bool is_there = chosen[first + j] / num_local_experts(call) == rank;
        probabilities[next] = is_there ? routed.probability[first + j] : 0.0F;
        experts[next] = is_there ? chosen[first + j] % num_local_experts(call) : -1;
      }
    }
  }
  routed.probability = {};
  send(call, sent, std::span(probabilities), call.elements<float>(R::recv_probs), moe_of(call).top_k, false);
  send(call, sent, std::span(experts), call.elements<std::int64_t>(R::recv_choices), moe_of(call).top_k, false);
}

LocalRows rows_of_call(const OpCall& call) {
  const std::span<const std::int64_t> experts = call.elements<std::int64_t>(R::recv_choices);
  const std::int64_t top_k = moe_of(call).top_k;
  std::vector<LocalPair> pairs;
  std::int64_t token = 0;
  for (std::int64_t source = 0; source < ep_of(call); ++source) {
    for (std::int64_t i = 0; i < call.routed().tokens_from[static_cast<std::size_t>(source)]; ++i, ++token) {
      for (std::int64_t j = 0; j < top_k; ++j) {
        const std::int64_t expert = experts[static_cast<std::size_t>(token * top_k + j)];
        if (expert >= 0) pairs.push_back({.token = token, .expert = expert, .choice = j, .source = source});
      }
    }
  }
  return LocalRows(std::move(pairs), ep_of(call), num_local_experts(call));
}

void permute(OpCall& call) {
  permute_tokens(call, rows_of_call(call), R::recv_probs,
                 [&](const LocalPair& pair) { return pair.token * moe_of(call).top_k + pair.choice; });
}

void unpermute(OpCall& call) { unpermute_tokens(call, rows_of_call(call)); }

void combine(OpCall& call) {
  const SentTokens& sent = call.routed().sent;
  if (call.is_forward()) {
    receive_sums(call, sent, call.operand(0), call.operand(-1));
  } else {
    send_rows(call, sent, call.operand(0), call.operand(-1));
  }
}

}  // namespace

const DispatchFunctions kTwoLevelDispatch = {permute, dispatch, combine, unpermute, learn};

}  // namespace orrery::executor
