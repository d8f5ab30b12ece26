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

/// About the CPU time of the exchanges whose pairs are flows of their own and of different size: at L3 where a router
/// decides. All else that a simulation does takes seconds. Source of the rates: docs/design/simgrid.md, "Fidelity".
Seconds exchange_time_needed(const StepProgram& program, const RunInput& input, const Fidelities& fidelities);

/// Where Linux says how much memory there is.
struct MemoryFiles {
  std::filesystem::path meminfo = "/proc/meminfo";
  std::filesystem::path own_cgroup = "/proc/self/cgroup", cgroups = "/sys/fs/cgroup";
};

/// What this machine can still give: MemAvailable, and not more than the limits of the control groups that this process
/// is in leave, whose cached files count as free. Infinite if nothing says.
Bytes memory_available(const MemoryFiles& files = {});

/// Throws: ConfigError if `needed` is more than `available`.
void require_memory(Bytes needed, Bytes available);

}  // namespace orrery::sim
