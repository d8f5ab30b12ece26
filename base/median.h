// SPDX-License-Identifier: Apache-2.0
// The median: the typical value of measurements, whatever a few of them did.
#pragma once

#include "base/check.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace orrery {

/// The middle value, or the mean of the two in the middle; of numbers or quantities. Requires: not empty.
template <class T>
T median(std::vector<T> values) {
  CHECK(!values.empty());
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return 0.5 * (*std::max_element(values.begin(), middle) + *middle);
}

}  // namespace orrery
