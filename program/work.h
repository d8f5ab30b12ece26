// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/units.h"
#include "program/load_model.h"
#include "program/op.h"

#include <vector>

// FLOPs and bytes of an op, derived from its shape: the single place for these formulas.

namespace orrery {

/// What the router decided for one op on one rank; empty for ops whose sizes are fixed.
struct ResolvedLoad {
  /// Rows of each local expert. For a balanced router all equal, and possibly fractional.
  std::vector<double> rows_per_expert;
  /// Rows that arrive at this rank: the sum of rows_per_expert.
  double received = 0.0;
  double gathered = 0.0;  // the same, summed over the ranks of its ETP group
  double distinct = 0.0;  // tokens that arrive at this rank, each once
  /// Of attention: pairs of query and key over those of its shape. Not the router's decision but that of the data
  /// (program/sequence_model.h).
  double attention_share = 1.0;
};

/// Work of one op. FLOPs count a multiply and an add as 2; memory traffic reads each operand once and writes each
/// result once, the least that any kernel needs.
struct Work {
  Flops flops;
  Bytes read;
  Bytes written;
};

/// Work of a compute op; zero for communication. Backward of flash attention executes 5 matrix products against 2 of
/// the forward, hence 2.5 times its FLOPs (Dao, FlashAttention-2, section 3.1). Causal attention counts half, and
/// load.attention_share of that; its bytes do not depend on the documents.
Work work_of(const OpKey& key, const OpShape& shape, const ResolvedLoad& load);

/// Expected number of distinct groups, of `num_groups` equal ones, that hold one of the `top_k` experts of a token
/// under a uniform router: G (1 - C(E - E/G, k) / C(E, k)). Source: DeepEP, get_expected_topk.
/// Requires: num_groups divides num_experts.
double expected_distinct(std::int64_t num_experts, std::int64_t top_k, std::int64_t num_groups);

/// Expected number of distinct nodes, of `num_nodes` equal ones, that hold an expert of a token when its experts lie in
/// at most `top_k_groups` of `num_groups` groups, the best by the sum of their two best scores: each of them nearly
/// always gives one (3.95 to 3.97 of 4 for DeepSeek-V3, Monte Carlo; a random choice of groups 3.63). Never more than
/// without the limit. Requires: num_nodes divides num_experts.
double expected_nodes(std::int64_t num_experts, std::int64_t top_k, std::int64_t num_nodes, std::int64_t num_groups,
                      std::int64_t top_k_groups);

/// Rows of `rows` on a rank whose experts receive `load`.
double resolve(const Rows& rows, const ResolvedLoad& load);

/// Payload bytes that one rank of a group of `size` sends to other ranks in a collective: ring volume.
/// all-reduce 2 (n-1)/n S, reduce-scatter, all-gather and all-to-all (n-1)/n S, ring shift S. Rows that the router
/// decides are not counted: resolve them first.
Bytes wire_bytes(const CollectiveShape& shape, std::int64_t size);

/// Payload bytes that rank `member` of the EP group sends in an exchange under `routing`: rows for other ranks plus
/// the row counts. For the way back (to_experts == false) senders and receivers are swapped. With two levels a token
/// goes once to each rank that has one of its experts: as often as was counted, else as a uniform router chooses it
/// (expected_distinct).
Bytes wire_bytes(const ExchangeShape& shape, const RoutingMatrix& routing, std::int64_t member);

}  // namespace orrery
