// SPDX-License-Identifier: Apache-2.0
// Whether a simulation fits into this machine, asked before it starts: a folded step is small, but a step of which
// every rank is simulated can be a thousand times larger, and the kernel ends processes that ask for too much without a
// word.
#pragma once

#include "base/units.h"
#include "program/cluster.h"
#include "program/fidelity.h"
#include "program/step_program.h"
#include "traces/interpreter.h"

#include <filesystem>
#include <span>

namespace orrery::sim {

/// About what a simulation takes beside its program, in this process and in the one that reads its trace: by op of the
/// simulated ranks, by pair of each communication of different size at L3, and by pair of sites with a route of its own
/// (sim/routes.h; `hashed`: a seed draws paths). Source of the rates: docs/design/simgrid.md, "Memory".
Bytes memory_needed(const StepProgram& program, const Cluster& cluster, std::span<const DeviceIndex> device_of_rank,
                    const RunInput& input, const Fidelities& fidelities, bool hashed = false);

/// What this machine can still give: MemAvailable of `meminfo`, /proc/meminfo. Infinite if it does not say.
Bytes memory_available(const std::filesystem::path& meminfo = "/proc/meminfo");

/// Throws: ConfigError if `needed` is more than `available`.
void require_memory(Bytes needed, Bytes available);

}  // namespace orrery::sim
