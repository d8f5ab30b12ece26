// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/muon.h"

#include <algorithm>
#include <map>
#include <utility>

namespace orrery::lowering {
namespace {

constexpr std::int64_t kIterations = 5;

}  // namespace

std::vector<OpRule> muon_rules(const ClassContext& c, OpCode op, FlatBufferKind kind, std::int64_t ranks) {
  const RuleContext& rules = c.rules_context;
  const Strategy& s = rules.strategy;
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> num_matrices;  // by smaller and larger side
  for (const Parameter& p : rank_parameters(rules.model, c.layouts(), s.ep, 0)) {
    if (!is_orthogonalised(p, s) || p.is_expert() != (kind == FlatBufferKind::expert)) continue;
    const std::int64_t elements = elements_on_rank(p, rules.model, s.tp, s.etp);
    const std::int64_t cols = p.split == Split::cols ? elements / p.rows : p.cols, rows = elements / cols;
    ++num_matrices[{std::min(rows, cols), std::max(rows, cols)}];
  }
  std::vector<OpRule> out;
  const auto add = [&](std::int64_t batch, std::int64_t m, std::int64_t k) {
    const GroupedGemmShape shape{.rows = {Rows::Kind::fixed, batch * m},
                                 .num_experts = batch,
                                 .n = m,
                                 .k = k,
                                 .dtype = DType::bf16,
                                 .accumulate = DType::bf16};
    out.push_back(rules.with_shape(op, Pass::update, Queue::compute, shape, {}));
    out.back().bucket = static_cast<std::int16_t>(out.size() - 1);
  };
  for (const auto& [sides, count] : num_matrices) {
    const std::int64_t owned = (count + ranks - 1) / ranks;
    add(2 * kIterations * owned, sides.first, sides.second);
    add(kIterations * owned, sides.first, sides.first);
  }
  return out;
}

}  // namespace orrery::lowering
