// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/local_rows.h"

#include "base/check.h"
#include "executor/kernels/elementwise.h"

#include <algorithm>
#include <tuple>

namespace orrery::executor {

LocalRows::LocalRows(std::vector<LocalPair> pairs, std::int64_t num_sources, std::int64_t num_local_experts)
    : pairs_(std::move(pairs)), counts_(static_cast<std::size_t>(num_sources * num_local_experts)) {
  std::stable_sort(pairs_.begin(), pairs_.end(), [](const LocalPair& a, const LocalPair& b) {
    return std::tuple(a.expert, a.token) < std::tuple(b.expert, b.token);
  });
  for (const LocalPair& pair : pairs_)
    ++counts_[static_cast<std::size_t>(pair.source * num_local_experts + pair.expert)];
}

void LocalRows::copy_to_experts(const Matrix& tokens, const Matrix& out) const {
  CHECK(out.rows == static_cast<std::int64_t>(pairs_.size()), out.rows, pairs_.size());
  for_each([&](const LocalPair& pair, std::int64_t row) {
    convert(tokens.row_block(pair.token, 1), out.row_block(row, 1));
  });
}

void LocalRows::sum_to_tokens(const Matrix& rows, const Matrix& out) const {
  CHECK(rows.rows == static_cast<std::int64_t>(pairs_.size()), rows.rows, pairs_.size());
  std::vector<std::size_t> order(pairs_.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::tuple(pairs_[a].token, pairs_[a].choice) < std::tuple(pairs_[b].token, pairs_[b].choice);
  });
  fill_zero(out);
  std::vector<float> storage(static_cast<std::size_t>(out.cols));
  const Matrix sum = matrix_of(storage.data(), 1, out.cols);
  for (std::size_t i = 0; i < order.size();) {
    const std::int64_t token = pairs_[order[i]].token;
    fill_zero(sum);
    for (; i < order.size() && pairs_[order[i]].token == token; ++i) {
      add(sum, rows.row_block(static_cast<std::int64_t>(order[i]), 1), sum);
    }
    convert(sum, out.row_block(token, 1));
  }
}

}  // namespace orrery::executor
