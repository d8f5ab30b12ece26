// SPDX-License-Identifier: Apache-2.0
// A pairwise covering array: few rows such that every two values of two factors stand in one row together, if any legal
// row has both. Most faults of combinations need two values to show (Kuhn, Wallace and Gallo, "Software fault
// interactions and implications for software testing", 2004). The generator is greedy over random rows (Cohen et al.,
// "The AETG system", 1997), with fixed seeds, so that the array is the same every time.
#pragma once

#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

namespace orrery::executor::testing {

using Row = std::vector<std::size_t>;  // a value's index for each factor

struct CoveringArray {
  std::vector<Row> rows;
  /// Pairs that no legal row was found for: ((factor, value), (factor, value)).
  using Pair = std::pair<std::pair<std::size_t, std::size_t>, std::pair<std::size_t, std::size_t>>;
  std::vector<Pair> without_row;
};

/// `num_values`: of each factor. `is_legal` says whether a row may be.
CoveringArray covering_array(const std::vector<std::size_t>& num_values,
                             const std::function<bool(const Row&)>& is_legal);

}  // namespace orrery::executor::testing
