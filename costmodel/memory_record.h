// SPDX-License-Identifier: Apache-2.0
// The memory of single ranks as a trace has it: states by formula, tensors by replay of the program. An execution
// records the same of its ranks, so the two can be compared cause by cause.
#pragma once

#include "program/load_model.h"
#include "program/step_program.h"
#include "traces/trace.h"

#include <span>
#include <vector>

namespace orrery::costmodel {

/// Of `ranks`, in their order, when routers do what `load` says. Throws: ConfigError as routing() does.
/// Complexity: a replay for each rank.
std::vector<MemoryRecord> memory_records(const StepProgram& program, std::span<const RankId> ranks,
                                         const LoadModel& load);

}  // namespace orrery::costmodel
