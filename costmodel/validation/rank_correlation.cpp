// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/rank_correlation.h"

#include "base/check.h"

#include <cmath>
#include <cstddef>

namespace orrery::costmodel {

std::optional<double> kendall_tau(std::span<const double> a, std::span<const double> b) {
  CHECK(a.size() == b.size(), a.size(), b.size());
  double agreement = 0.0, ordered_a = 0.0, ordered_b = 0.0;
  const auto sign = [](double x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : 0.0; };
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const double in_a = sign(a[i] - a[j]), in_b = sign(b[i] - b[j]);
      agreement += in_a * in_b;
      ordered_a += std::abs(in_a);
      ordered_b += std::abs(in_b);
    }
  }
  if (ordered_a == 0.0 || ordered_b == 0.0) return std::nullopt;
  return agreement / std::sqrt(ordered_a * ordered_b);
}

}  // namespace orrery::costmodel
