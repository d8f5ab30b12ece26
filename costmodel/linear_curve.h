// SPDX-License-Identifier: Apache-2.0
// Time over bytes, measured at a few sizes: straight lines between the points. For memory-bound ops and for
// collectives within shared memory, where a table is denser than any formula is right.
#pragma once

#include "base/units.h"

#include <map>

namespace orrery::costmodel {

class LinearCurve {
 public:
  struct Value {
    Seconds time;
    bool inside = false;  // between the least and the largest size that was measured
  };

  /// A second measurement of one size replaces the first.
  void add(Bytes size, Seconds time) { points_[size.in(unit::byte)] = time; }
  bool empty() const { return points_.empty(); }
  /// Requires: not empty.
  Bytes largest() const { return Bytes::from_si(points_.rbegin()->first); }
  /// The rate of further bytes, in which the start no longer counts: from the largest size of at most half the largest
  /// one, so that two points that lie close together do not decide; over all bytes where there is none or where it was
  /// slower. Requires: not empty.
  BytesPerSecond end_rate() const;
  /// Below the least size the first line goes on, but never below zero and never above the first point; above the
  /// largest one bytes come at end_rate(). Requires: not empty.
  Value at(Bytes size) const;

 private:
  std::map<double, Seconds> points_;
};

}  // namespace orrery::costmodel
