// SPDX-License-Identifier: Apache-2.0
// What the devices of a step do with its time, as far as it decides what they draw: matrix products keep tensor cores
// and multipliers busy, streaming ops the memory, a communication that nothing hides a few multiprocessors and links,
// and who waits for a peer does little more than idle. What a device does at a time is what its compute queue does; a
// communication beside compute has no time of its own, but makes that of compute longer.
#pragma once

#include "base/units.h"
#include "program/op_key.h"
#include "traces/trace.h"

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

/// Ranks without spans count as those that stand for them. Requires: a step. Complexity: O(n log n) for n spans.
Activities activities(const Trace& trace);

}  // namespace orrery
