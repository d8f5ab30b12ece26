// SPDX-License-Identifier: Apache-2.0
#include "program/dependents.h"

#include <array>
#include <optional>

namespace orrery {
namespace {

/// Calls `edge(before, after)` for every dependency, the implied order of the queues included.
template <class Edge>
void for_each_edge(const RankClass& rank_class, Edge edge) {
  std::array<std::optional<OpIndex>, kNumQueues> last;
  for (OpIndex op = 0; op < rank_class.ops.size(); ++op) {
    for (const OpIndex before : rank_class.deps_of(op)) edge(before, op);
    auto& previous = last[static_cast<std::size_t>(rank_class.ops[op].queue)];
    if (previous) edge(*previous, op);
    previous = op;
  }
}

}  // namespace

Dependents::Dependents(const RankClass& rank_class)
    : begin_(rank_class.ops.size() + 1), num_predecessors_(rank_class.ops.size()) {
  for_each_edge(rank_class, [&](OpIndex before, OpIndex after) {
    ++begin_[before + 1];
    ++num_predecessors_[after];
  });
  for (std::size_t op = 1; op < begin_.size(); ++op) begin_[op] += begin_[op - 1];
  dependents_.resize(begin_.back());
  std::vector<std::uint32_t> next(begin_.begin(), begin_.end() - 1);
  for_each_edge(rank_class, [&](OpIndex before, OpIndex after) { dependents_[next[before]++] = after; });
}

}  // namespace orrery
