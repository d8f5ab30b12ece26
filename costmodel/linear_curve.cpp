// SPDX-License-Identifier: Apache-2.0
#include "costmodel/linear_curve.h"

#include "base/check.h"

#include <algorithm>
#include <iterator>

namespace orrery::costmodel {

BytesPerSecond LinearCurve::end_rate() const {
  CHECK(!points_.empty());
  const auto& [largest, time] = *points_.rbegin();
  auto below = points_.upper_bound(largest / 2.0);
  if (below != points_.begin()) {
    const auto& [size, at_size] = *--below;
    if (time > at_size) return Bytes::from_si(largest - size) / (time - at_size);
  }
  return Bytes::from_si(largest) / time;
}

LinearCurve::Value LinearCurve::at(Bytes size) const {
  CHECK(!points_.empty());
  const double x = size.in(unit::byte);
  auto right = points_.lower_bound(x);
  if (right != points_.end() && right->first == x) return {right->second, true};
  if (right == points_.end()) {
    const auto& [largest, time] = *points_.rbegin();
    return {time + Bytes::from_si(x - largest) / end_rate(), false};
  }
  const bool inside = right != points_.begin();
  if (!inside && points_.size() == 1) return {right->second, false};
  if (!inside) ++right;
  const auto left = std::prev(right);
  const Seconds time =
      left->second + (right->second - left->second) * ((x - left->first) / (right->first - left->first));
  if (inside) return {time, true};
  return {std::clamp(time, Seconds::zero(), left->second), false};
}

}  // namespace orrery::costmodel
