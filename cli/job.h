// SPDX-License-Identifier: Apache-2.0
// The options with which one training run is spread over several hosts, for `execute`.
#pragma once

#include "executor/bootstrap/job.h"
#include "executor/runtime/settings.h"
#include "program/step_program.h"

#include <cstdint>
#include <memory>
#include <string>

namespace CLI {
class App;
}

namespace orrery::cli {

struct JobFlags {
  int nodes = 0;  // 0: what the environment says
  int node_rank = -1;
  std::string rendezvous;
  std::string listen;
  std::string communicator = "tcp";
};

void add_job_options(CLI::App& command, JobFlags& flags);

/// Whether this process is one of several that share the ranks. Throws: ConfigError.
bool is_shared(const JobFlags& flags);

/// Finds the other processes of the job; null when this one is alone. `first_step`: the steps that were trained before.
/// Throws: ConfigError, BackendError (executor/bootstrap/job.h).
std::unique_ptr<executor::Job> join_job(const JobFlags& flags, const StepProgram& program,
                                        const executor::TrainingSettings& settings, std::int64_t first_step);

}  // namespace orrery::cli
