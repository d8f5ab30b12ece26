// SPDX-License-Identifier: Apache-2.0
// A step whose ops do not disturb each other, without events. Where every rate is 1 an op ends one duration after the
// last of what it waits for, so a pass that comes to each op after all of that has every time at once. Within a rank
// the order in which its host enqueues is such an order; between ranks a communication is known when the last one has
// come to it. A rank therefore goes on until an op needs an end that is not known yet, and rests until it is
// (docs/design/overlap.md).
#pragma once

#include "costmodel/op_times.h"

#include <optional>

namespace orrery::costmodel {

/// Whether nothing slows anything: no compute op beside a communication, and no communication beside compute.
bool rates_are_fixed(const TimedProgram& timed);

/// The same times as run_events, to the bit, at several times its speed. Nothing if all ranks rest before the end:
/// the program deadlocks, or goes on only since ops enqueued later, on other queues, need not wait. run_events can
/// tell. Requires: rates_are_fixed(timed). Complexity: linear in ops and dependencies.
std::optional<OpTimes> run_in_order(const TimedProgram& timed, bool keep_times);

}  // namespace orrery::costmodel
