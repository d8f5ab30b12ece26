// SPDX-License-Identifier: Apache-2.0
// One launch of ranks that calibrate: they train one probe, or time collectives. Each has ranks and a segment of its
// own, so that nothing of one measurement is left in the next.
#pragma once

#include "base/units.h"
#include "executor/calibration/probe.h"
#include "executor/launch/rank_main.h"

#include <cstdint>
#include <optional>
#include <string>

namespace orrery::executor {

struct CalibrationTask {
  std::int64_t num_ranks = 1;
  std::optional<Probe> probe;  // absent: collectives
  /// For the measurements themselves. A probe takes at least one step to warm up and one that counts.
  Seconds max_time;
  std::string gemm;  // back end by name; empty: the best one
};

std::string to_json(const CalibrationTask& task);
/// Throws: ConfigError with all problems.
CalibrationTask read_calibration_task(const std::string& path);
CalibrationTask read_calibration_task_text(const std::string& text, const std::string& file);

/// What a rank's process does: measures at the same time as all others, and sends its samples (rank_samples.h).
/// Throws: BackendError when a peer fails.
void calibrate_rank(RankProcess& process, const CalibrationTask& task);

}  // namespace orrery::executor
