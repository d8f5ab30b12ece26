// SPDX-License-Identifier: Apache-2.0
// One training run on CPU ranks, as the launching process asks for it and as each rank carries it out. A rank lowers
// the plan again by itself and refuses to run if its program is not the one that was meant.
#pragma once

#include "executor/bootstrap/job.h"
#include "executor/launch/rank_main.h"
#include "executor/runtime/kept_steps.h"
#include "executor/runtime/settings.h"
#include "program/plan.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::executor {

struct ExecutionRequest {
  std::string plan_path;
  std::string program_hash;  // hash_of(StepProgram) that the ranks must lower to
  TrainingSettings settings;
  KeptSteps kept;  // what of the steps is in the traces
};

/// A complete checkpoint, and the steps that were trained before it.
struct StartPoint {
  std::filesystem::path path;
  std::int64_t step = 0;
};

/// The checkpoint with which a run on `program` starts: with `resume`, the last complete one in the folder that
/// `settings` name, if there is one.
/// Throws: ConfigError, when it is of another training run or not complete, or when the folder has checkpoints and the
/// run shall not go on from them.
std::optional<StartPoint> checkpoint_to_start_from(const Plan& plan, const StepProgram& program,
                                                   const TrainingSettings& settings, bool resume);

/// What the processes of a job must have in common to train together: what is read, not from where, and what rank 0
/// writes, not where. Throws: ConfigError, when something cannot be read.
JobFacts job_facts_of(const StepProgram& program, const TrainingSettings& settings, std::int64_t first_step);

/// Whether the Hugging Face folder that `settings` name has every weight of the program's model, and nothing else.
/// Returns what its models compute and ours do not, in sentences. Throws: ConfigError, naming all that is wrong.
std::vector<std::string> check_init_from(const Plan& plan, const StepProgram& program,
                                         const TrainingSettings& settings);

std::string to_json(const ExecutionRequest& request);
/// Throws: ConfigError with all problems.
ExecutionRequest read_execution_request(const std::string& path);

/// What a rank's process does: trains, and sends its own trace/1 as its result.
/// Throws: ConfigError, BackendError; InternalError when the program differs.
void execute_rank(RankProcess& process, const ExecutionRequest& request);

}  // namespace orrery::executor
