// SPDX-License-Identifier: Apache-2.0
// The options with which one run is spread over several hosts, for `execute` and `calibrate`.
#pragma once

#include "executor/bootstrap/job.h"
#include "executor/runtime/settings.h"
#include "program/step_program.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace orrery::cli {

struct JobFlags {
  int nodes = 0;  // 0: what the environment says
  int node_rank = -1;
  int local_ranks = 0;  // 0: as many as every other process
  std::string rendezvous;
  std::string listen;
  std::string communicator = "tcp";
};

void add_job_options(CLI::App& command, JobFlags& flags);

/// Whether this process is one of several that share the ranks. Throws: ConfigError.
bool is_shared(const JobFlags& flags);
/// Whether it is process 0 of them, or alone: it reports, and writes what is not a rank's. Throws: ConfigError.
bool is_first_process(const JobFlags& flags);

/// Finds the other processes of the job; null when this one is alone. `command`: the verb and what it needs, for hints.
/// Throws: ConfigError, BackendError (executor/bootstrap/job.h).
std::unique_ptr<executor::Job> join_job(const JobFlags& flags, int num_ranks, executor::JobFacts facts,
                                        std::chrono::nanoseconds time_out, std::string_view command);
/// The same for a training run. `first_step`: the steps that were trained before.
std::unique_ptr<executor::Job> join_job(const JobFlags& flags, const StepProgram& program,
                                        const executor::TrainingSettings& settings, std::int64_t first_step,
                                        const std::string& plan_name);

/// Tells process 0, if this is another one, that this process will not come and `why`; it may take some seconds, and
/// fail in silence.
void refuse_job(const JobFlags& flags, std::string_view why, std::chrono::nanoseconds time_out);

}  // namespace orrery::cli
