// SPDX-License-Identifier: Apache-2.0
// The interpreter that really trains: each rank of a plan is a process (`orrery-rank`), of this machine or of several
// that a job has brought together, and the trace is what they measured. See runtime/rank_runtime.h for what a rank
// does.
#pragma once

#include "executor/bootstrap/job.h"
#include "executor/runtime/kept_steps.h"
#include "executor/runtime/run_log.h"
#include "executor/runtime/settings.h"
#include "program/plan.h"
#include "traces/interpreter.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace orrery::executor {

class CpuInterpreter final : public Interpreter {
 public:
  /// `rank_executable`: path of orrery-rank. run() trains `settings.num_steps` steps; RunInput::num_steps, if larger,
  /// wins. With a job, run() starts the ranks of this process; its trace is that of all ranks at process 0 and has no
  /// steps elsewhere. `log`, if any, is filled while run() goes on. Both outlive this.
  CpuInterpreter(Plan plan, std::filesystem::path rank_executable, TrainingSettings settings, Job* job = nullptr,
                 RunLog* log = nullptr);

  std::string_view name() const override { return "cpu"; }
  bool available() const override { return true; }
  /// Whether orrery-rank is where it should be.
  bool enabled() const override;
  std::vector<Unsupported> unsupported(const StepProgram& program) const override;
  /// Of an input that is not `complete` the trace has what a report needs (runtime/kept_steps.h), but with a log, which
  /// counts steps, the records of all. Requires, beside the interface's: `program` is what the plan lowers to; a log
  /// only without a job. Throws: RanksFailed, when a rank dies or fails; BackendError, when none can be started.
  Trace run(const StepProgram& program, const RunInput& input) const override;

 private:
  KeptSteps kept_steps(const RunInput& input, std::int64_t num_steps) const;

  Plan plan_;
  std::filesystem::path rank_executable_;
  TrainingSettings settings_;
  Job* job_;
  RunLog* log_;
};

/// Puts the traces of all ranks together: spans of all, the longest time and the largest memory of each step, and the
/// routing matrices from the rows that the ranks recorded. Requires: at least one trace; `mesh` is the program's.
Trace merge_rank_traces(std::vector<Trace> traces, const Mesh& mesh);

/// Path of orrery-rank beside the running executable.
std::filesystem::path rank_executable_beside_this();

}  // namespace orrery::executor
