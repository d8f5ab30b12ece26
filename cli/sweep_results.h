// SPDX-License-Identifier: Apache-2.0
// The results of a sweep: JSON Lines, one for each point that was searched. A sweep that was cut off goes on behind
// them; several processes write files of their own, and all read the files of all.
#pragma once

#include "base/units.h"
#include "planner/sweep.h"
#include "program/plan.h"
#include "program/strategy.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace orrery::cli {

struct SweepResult {
  planner::SweepPoint point;
  std::int64_t num_devices = 0;
  std::string infeasible;  // why nothing runs; empty: something does, and the rest is known
  std::string refused;     // what is wrong with the point, such as a cluster that is not calibrated; nothing is known
  Seconds step_time;
  Bytes peak_memory;  // of the fullest rank
  std::optional<Interval80<Seconds>> step_time_80;
  std::optional<Interval80<Bytes>> peak_memory_80;
  std::optional<double> usd;  // of a step
  std::optional<double> gap;  // of the search
  std::string strategy;       // in short, for people

  bool runs() const { return infeasible.empty() && refused.empty(); }
};

/// This process among those of a launcher, from the environment that Open MPI, PMI or Slurm give: {0, 1} without one.
struct SweepShare {
  std::int64_t index = 0, count = 1;
  static SweepShare of_environment();
};

/// The file of a process: `path`, or with several "path.INDEX".
std::string results_path(const std::string& path, const SweepShare& share);

/// What `path` and the files of other processes beside it hold. A last line without its end was cut off and is left
/// out. Throws: ConfigError with file and line, if another line is no result.
std::vector<SweepResult> read_results(const std::string& path);

/// Adds one line, and takes away what was cut off before it. `strategy`: all of it goes into the line; null: none.
/// Throws: BackendError.
void append_result(const std::string& path, const SweepResult& result, const Strategy* strategy);

}  // namespace orrery::cli
