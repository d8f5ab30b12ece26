// SPDX-License-Identifier: Apache-2.0
// The clock that all ranks of one host share: CLOCK_MONOTONIC, read through std::chrono. Two processes that look at the
// same moment read the same value, so instants of different ranks can be compared; the clock error is 0. Hosts have
// clocks of their own: what travels between them is a reading of the clock of the run (`Segment::on_common_clock`).
#pragma once

#include <chrono>

namespace orrery::executor {

/// A moment on the shared clock; its epoch is the start of the machine and has no meaning of its own.
using Instant = std::chrono::steady_clock::time_point;

inline Instant now() { return std::chrono::steady_clock::now(); }

}  // namespace orrery::executor
