// SPDX-License-Identifier: Apache-2.0
// Are plans ranked as measurements rank them? A user picks the best of several plans, and an error that all of them
// share costs nothing.
#pragma once

#include <optional>
#include <span>

namespace orrery::costmodel {

/// Kendall's tau-b of two lists: pairs in the same order less pairs in the other one, over all pairs, ties corrected
/// (Kendall, "Rank Correlation Methods", 1948). Nothing if one of them is all ties or there are fewer than two.
/// Requires: equal lengths. Complexity: quadratic.
std::optional<double> kendall_tau(std::span<const double> a, std::span<const double> b);

}  // namespace orrery::costmodel
