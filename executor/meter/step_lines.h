// SPDX-License-Identifier: Apache-2.0
// What every step of a run took, as JSON Lines: one line when a step ends, for whoever follows the file or reads it
// into a table (docs/metrics.md). A run that goes on from a checkpoint writes behind the steps before it.
#pragma once

#include "base/units.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace orrery::executor {

/// Bytes by dimension and op: {"ep", "moe.dispatch"}.
using SentBytes = std::map<std::pair<std::string, std::string>, std::int64_t>;

struct StepLine {
  std::int64_t step = 0;
  Seconds time;  // of the slowest rank
  std::int64_t tokens = 0;
  double loss = 0.0, grad_norm = 0.0;
  SentBytes sent_bytes;          // over all ranks
  std::optional<Joules> energy;  // of the machine's CPUs; nothing without a counter
};

/// Without the end of the line.
std::string text_of(const StepLine& line);

/// Begins the file of a run whose first step is `first_step`: of an earlier file the lines of steps before it stay.
/// Throws: ConfigError, when there is a file of others; BackendError, when it cannot be written.
void start_step_lines(const std::string& path, std::int64_t first_step);

/// Throws: BackendError, with the reason.
void append_step_line(const std::string& path, const StepLine& line);

}  // namespace orrery::executor
