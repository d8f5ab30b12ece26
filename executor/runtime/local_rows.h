// SPDX-License-Identifier: Apache-2.0
// The rows that this rank's experts compute when tokens, and not pairs of token and choice, have arrived: which token
// each row is a copy of, in the order (local expert, source rank, position at the source).
#pragma once

#include "executor/kernels/matrix.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::executor {

/// A token that has arrived, and one of this rank's experts that it chose.
struct LocalPair {
  std::int64_t token = 0;   // among those that arrived
  std::int64_t expert = 0;  // local
  std::int64_t choice = 0;  // which of the token's choices it is
  std::int64_t source = 0;  // rank of the group that sent it
};

class LocalRows {
 public:
  /// `pairs`: tokens in the order in which they arrived, source by source.
  LocalRows(std::vector<LocalPair> pairs, std::int64_t num_sources, std::int64_t num_local_experts);

  /// Rows per (source rank, local expert).
  const std::vector<std::int64_t>& counts() const { return counts_; }
  /// Calls work(pair, row of the experts' matrix), rows ascending.
  template <class Work>
  void for_each(Work&& work) const {
    for (std::size_t row = 0; row < pairs_.size(); ++row) work(pairs_[row], static_cast<std::int64_t>(row));
  }
  /// out[row] = tokens[token of the row].
  void copy_to_experts(const Matrix& tokens, const Matrix& out) const;
  /// out[t] = sum of the rows of token t in the order of its choices, in f32, rounded once; zero for one without rows.
  void sum_to_tokens(const Matrix& rows, const Matrix& out) const;

 private:
  std::vector<LocalPair> pairs_;  // by row
  std::vector<std::int64_t> counts_;
};

}  // namespace orrery::executor
