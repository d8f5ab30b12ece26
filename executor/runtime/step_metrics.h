// SPDX-License-Identifier: Apache-2.0
// Keeps the metrics of a run: after each step the ranks add up what they sent, and rank 0 replaces the file for
// Prometheus and writes a line of the step behind the others (executor/meter).
#pragma once

#include "executor/meter/metrics_file.h"
#include "executor/meter/step_lines.h"
#include "executor/runtime/rank_runtime.h"

#include <optional>
#include <string>

namespace orrery::executor {

enum class RunStart { anew, resumed, restarted };  // restarted: by the launcher, after ranks were lost or failed

/// Writes the file with which a run begins: zeros, or of a run that goes on the totals that it has already.
/// Throws: ConfigError, when it is not one of ours; BackendError, when it cannot be written.
void start_metrics_file(const std::string& path, const StepProgram& program, RunStart start);

class StepMetrics {
 public:
  /// `path`, `lines_path`: empty for none. Requires: start_metrics_file() was called for `path`, and start_step_lines()
  /// for `lines_path`. Throws: ConfigError.
  StepMetrics(RankRuntime& runtime, std::string path, std::string lines_path = "");

  /// Collective: all ranks call it after each step. `energy`: of the step, on rank 0, where there is a counter. Throws:
  /// BackendError.
  void after_step(const RankRuntime::Step& step, std::optional<Joules> energy);

 private:
  Endpoint& endpoint_;
  RankState& rank_;
  std::string path_, lines_path_;
  RunMetrics metrics_;  // of rank 0
};

}  // namespace orrery::executor
