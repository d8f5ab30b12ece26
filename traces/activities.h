// SPDX-License-Identifier: Apache-2.0
// What the devices of a step do with its time, as far as it decides what they draw: matrix products keep tensor cores
// and multipliers busy, streaming ops the memory, a communication that nothing hides a few multiprocessors and links,
// and who waits for a peer does little more than idle. What a device does at a time is what its compute queue does; a
// communication beside compute has no time of its own, but makes that of compute longer.
#pragma once

#include "base/units.h"
#include "program/op_key.h"
#include "traces/trace.h"

#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace orrery {

/// Whether the op multiplies matrices, attention among them. What an optimizer does with products counts whole.
bool is_product(OpCode op);

/// Of one device and step, the mean over all. What is left of the step it waits.
struct Activities {
  Seconds products, streaming;  // of the compute queue: ops that multiply, and all others
  Seconds communication;        // bytes that travel while nothing is computed; copies to and from the host, too

  Seconds compute() const { return products + streaming; }
  Seconds all() const { return compute() + communication; }
  bool operator==(const Activities&) const = default;
};

/// Adds up spans as they come. Ranks without spans count as those that stand for them.
class ActivityCount {
 public:
  /// `record`: what the trace says beside its spans. Requires: all spans of a rank in a step come at once.
  /// Complexity: O(n log n) for n spans.
  void add(const Trace& record, const Spans& spans);
  /// Of one device and step. Requires: a step.
  Activities mean(const Trace& record) const;
  /// Fraction of the step in which the compute queue of a rank works, over the ranks and the steps with spans.
  double utilisation(const Trace& record) const;

 private:
  Activities sum_;
  std::map<std::pair<std::int32_t, std::int32_t>, Seconds> communication_;  // by rank and step
  Seconds busy_;
  std::set<std::int32_t> steps_;  // with spans
};

/// Requires: a step.
Activities activities(const Trace& trace);

double compute_utilisation(const Trace& trace);

}  // namespace orrery
