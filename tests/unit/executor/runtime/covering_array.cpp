// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/executor/runtime/covering_array.h"

#include "base/rng.h"

#include <set>

namespace orrery::executor::testing {
namespace {

using Pair = CoveringArray::Pair;

class Generator {
 public:
  Generator(const std::vector<std::size_t>& num_values, const std::function<bool(const Row&)>& is_legal)
      : num_values_(num_values), is_legal_(is_legal) {
    for (std::size_t a = 0; a < num_values.size(); ++a) {
      for (std::size_t b = a + 1; b < num_values.size(); ++b) {
        for (std::size_t i = 0; i < num_values[a]; ++i) {
          for (std::size_t j = 0; j < num_values[b]; ++j) left_.insert({{a, i}, {b, j}});
        }
      }
    }
  }

  CoveringArray run() && {
    CoveringArray out;
    while (!left_.empty()) {
      const Pair wanted = *left_.begin();
      const Row row = best_row(wanted);
      if (row.empty()) {
        out.without_row.push_back(wanted);
        left_.erase(wanted);
        continue;
      }
      out.rows.push_back(row);
      for (const Pair& pair : new_pairs(row)) left_.erase(pair);
    }
    return out;
  }

 private:
  static constexpr int kTries = 2000;     // random rows before a pair is given up
  static constexpr int kCandidates = 12;  // legal rows of which the one with most new pairs is taken

  /// Of random legal rows with the wanted pair; empty: there is none.
  Row best_row(const Pair& wanted) {
    Row best;
    std::size_t most = 0;
    int num_legal = 0;
    for (int i = 0; i < kTries && num_legal < kCandidates; ++i) {
      Row row(num_values_.size());
      for (std::size_t factor = 0; factor < row.size(); ++factor) {
        row[factor] = static_cast<std::size_t>(rng_.below(next_++, num_values_[factor]));
      }
      row[wanted.first.first] = wanted.first.second;
      row[wanted.second.first] = wanted.second.second;
      if (!is_legal_(row)) continue;
      ++num_legal;
      const std::size_t gained = new_pairs(row).size();
      if (gained <= most) continue;
      most = gained;
      best = row;
    }
    return best;
  }

  std::vector<Pair> new_pairs(const Row& row) const {
    std::vector<Pair> found;
    for (std::size_t a = 0; a < row.size(); ++a) {
      for (std::size_t b = a + 1; b < row.size(); ++b) {
        const Pair pair{{a, row[a]}, {b, row[b]}};
        if (left_.contains(pair)) found.push_back(pair);
      }
    }
    return found;
  }

  const std::vector<std::size_t>& num_values_;
  const std::function<bool(const Row&)>& is_legal_;
  const CounterRng rng_{20, 7};
  std::uint64_t next_ = 0;
  std::set<Pair> left_;
};

}  // namespace

CoveringArray covering_array(const std::vector<std::size_t>& num_values,
                             const std::function<bool(const Row&)>& is_legal) {
  return Generator(num_values, is_legal).run();
}

}  // namespace orrery::executor::testing
