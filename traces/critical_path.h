// SPDX-License-Identifier: Apache-2.0
// What a step really waited for, from its end back to its start. From the op that ended last: a communication that
// waited for a peer leads to that peer, everything else to the op of the same rank whose end made it ready. The path
// is read from the times alone, so it works for predicted and measured steps alike; what no span explains (a peer that
// has no spans in this trace, the host between two ops) is a part of its own, and all parts add up to the step.
#pragma once

#include "base/units.h"
#include "traces/trace.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace orrery {

/// The key by which all members of a communication know it: a message is named after its send, and a collective of all
/// ranks after the first stage. Other ops have one key on all ranks.
OpKey shared_key(OpKey key);

struct CriticalPath {
  /// One op on the path and the time that it held up the step; the end of one part is the start of the next.
  struct Part {
    std::size_t span = 0;  // into the trace's spans
    Seconds work;          // from the start of the op to the end
    Seconds peer_wait;     // before that, for a peer that has no spans here
    Seconds gap;           // before that, no op of the rank ended: the host, or the start of the step
  };
  std::vector<Part> parts;  // from the start of the step
  Seconds work, peer_wait, gap;

  Seconds total() const { return work + peer_wait + gap; }
};

/// The path through the spans of one step; empty if it has none. Complexity: O(n log n) for n spans of the trace.
CriticalPath critical_path(const Trace& trace, std::int32_t step);

}  // namespace orrery
