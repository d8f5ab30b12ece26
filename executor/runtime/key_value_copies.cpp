// SPDX-License-Identifier: Apache-2.0
// More TP ranks than key-value heads: neighbours hold copies of a head, each with the gradient that comes from its own
// queries. Their sum is the gradient of the head, for all of them.
#include "executor/runtime/run_step_end.h"
#include "executor/runtime/run_tensor_parallel.h"

#include <algorithm>

namespace orrery::executor {
namespace {

/// Elements of a weight that this rank sums: copies, and with sharded gradients those of them that it owns. The ranks
/// of a TP group hold weights of one shape and own the same elements of them.
OwnedRange summed_part(const FlatState& state, std::int64_t parameter) {
  const LocalParameter& p = state.parameters()[static_cast<std::size_t>(parameter)];
  OwnedRange range = state.shards_gradients() ? state.owned_of(parameter) : OwnedRange{.count = p.size()};
  const std::int64_t end = range.begin + range.count;
  range.begin = std::max(range.begin, p.copied_from);
  range.count = std::max<std::int64_t>(end - range.begin, 0);
  return range;
}

bool has_copied_heads(const LocalParameter& p) { return p.whole.split == Split::kv_rows && p.num_copies > 1; }

}  // namespace

std::int64_t copied_head_elements(const FlatState& state) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < state.parameters().size(); ++i) {
    if (has_copied_heads(state.parameters()[i])) sum += summed_part(state, static_cast<std::int64_t>(i)).count;
  }
  return sum;
}

void sum_copied_heads(OpCall& call) {
  FlatState& state = call.rank.weights.dense();
  const std::int64_t elements = copied_head_elements(state);
  if (elements == 0) return;
  // The heads of all ranks side by side, zero but for the own one.
  const std::int64_t tp = call.rank.strategy().tp;
  const std::int64_t num_heads = std::get<GroupedQueryAttention>(call.rank.model().attention).num_kv_heads;
  const std::int64_t head = call.rank.view.coords.tp * num_heads / tp;
  std::vector<std::byte> storage;
  const Matrix all = scratch_of(state.kind().gradient, num_heads, elements, storage);
  fill_zero(all);
  const Matrix own = all.row_block(head, 1);
  const auto for_each = [&](auto&& work) {
    std::int64_t next = 0;
    for (std::size_t i = 0; i < state.parameters().size(); ++i) {
      const auto index = static_cast<std::int64_t>(i);
      if (!has_copied_heads(state.parameters()[i])) continue;
      const OwnedRange range = summed_part(state, index);
      if (range.count > 0) work(state.gradients(index, range.begin, range.count), own.col_block(next, range.count));
      next += range.count;
    }
  };
  for_each([](const Matrix& gradient, const Matrix& place) { convert(gradient, place); });
  call.add_report(all_reduce(call.group(), all, call.key));
  for_each([](const Matrix& gradient, const Matrix& place) { convert(place, gradient); });
}

}  // namespace orrery::executor
