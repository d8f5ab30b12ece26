// SPDX-License-Identifier: Apache-2.0
// How rows travel between tokens and experts: what the four ops around the experts do under each dispatcher. Whatever
// the way, an expert gets its rows in the order (source rank, position at the source), so that it sees the same matrix.
// A new dispatcher is a new file with one of these.
#pragma once

#include "executor/runtime/local_rows.h"
#include "executor/runtime/op_call.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace orrery::executor {

struct DispatchFunctions {
  void (*permute)(OpCall&), (*dispatch)(OpCall&), (*combine)(OpCall&), (*unpermute)(OpCall&);
  /// Before the outputs of a forward permute or dispatch are created: says how many rows they have.
  void (*learn)(OpCall&);
};

extern const DispatchFunctions kAllToAllDispatch, kAllGatherDispatch, kTwoLevelDispatch;

const DispatchFunctions& dispatch_of(const Strategy& strategy);

const MoeBlock& moe_of(const OpCall& call);
inline std::int64_t ep_of(const OpCall& call) { return call.rank.strategy().ep; }
std::int64_t num_local_experts(const OpCall& call);
/// The positions (program/expert_placement.h) of the experts that each token of the call chose, (tokens, top_k), best
/// first.
std::vector<std::int32_t> chosen_of_call(const OpCall& call);
/// Takes counts of rows per (source rank, local expert): offsets and rows that arrive follow from them.
void set_receive_counts(OpCall& call, std::vector<std::int64_t> counts);

// Where tokens arrive, and not pairs of token and choice: copies to the experts, and sums back.
/// `probs`: those that came with the tokens; place(pair) is where a pair's stands among them.
void permute_tokens(OpCall& call, const LocalRows& rows, TensorRole probs,
                    const std::function<std::int64_t(const LocalPair&)>& place);
void unpermute_tokens(OpCall& call, const LocalRows& rows);

}  // namespace orrery::executor
