// SPDX-License-Identifier: Apache-2.0
// The other end of sim/worker_interpreter.h: what the hidden verb `simulate-worker` of the orrery binary runs.
#pragma once

#include <iostream>

namespace orrery::sim {

/// Reads a request, lowers its plan again, simulates it and writes the trace. On failure the trace is left out and
/// the reason written to `errors`. Returns the exit code of the process: 0, or 1, 2, 4 as for every verb.
int worker_main(std::istream& in, std::ostream& out, std::ostream& errors = std::cerr);

}  // namespace orrery::sim
