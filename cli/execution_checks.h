// SPDX-License-Identifier: Apache-2.0
// What can be known to be wrong with an execution before a rank is started: said once and by the launcher, and not by
// every rank for itself or by the kernel, which ends processes that ask for too much memory without a word.
#pragma once

#include "base/units.h"
#include "executor/runtime/settings.h"
#include "program/load_model.h"
#include "program/plan.h"
#include "program/step_program.h"

#include <cstdint>
#include <string>

namespace orrery::cli {

/// The ranks of a run that this machine starts.
struct LocalRanks {
  std::int64_t first = 0, count = 0;
};

/// What these ranks take together: states and tensors as predicted under `load`, and with offload of the optimizer its
/// states on the host, which is this machine as well. Buffers of communicators and libraries come on top.
Bytes memory_of_ranks(const StepProgram& program, const LoadModel& load, const LocalRanks& ranks);

/// Throws: ConfigError with all that CPU ranks cannot run of the plan. `plan_name`: for messages.
void check_executable(const std::string& plan_name, const Plan& plan, const StepProgram& program);

/// Throws: ConfigError, if they need more than the `available` bytes.
void check_memory(Bytes needed, Bytes available, std::int64_t num_ranks);

/// Throws: ConfigError, if the corpus is missing, too short for a sequence or has bytes outside of the vocabulary.
void check_corpus(const StepProgram& program, const executor::TrainingSettings& settings);

/// What to know when ranks have to take turns; empty: each has a core.
std::string note_of_shared_cores(std::int64_t num_ranks, std::int64_t num_cores);

}  // namespace orrery::cli
