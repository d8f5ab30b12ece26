// SPDX-License-Identifier: Apache-2.0
// Ranks that measure must all stop at the same time, though each reads the clock for itself: rank 0 decides.
#pragma once

#include "executor/comm/communicator.h"

#include <cstdint>
#include <span>

namespace orrery::executor {

/// `mine` of rank 0, on all ranks of the group.
inline bool as_rank_0_says(Communicator& group, bool mine) {
  std::uint8_t decision = mine ? 1 : 0;
  group.broadcast(std::as_writable_bytes(std::span(&decision, 1)), 0, "calibration");
  return decision != 0;
}

}  // namespace orrery::executor
