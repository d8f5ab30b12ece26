// SPDX-License-Identifier: Apache-2.0
// Measures what CPU ranks of this machine take for ops and collectives: times only, from which the cost model makes
// predictions for other plans (costmodel/calibration.h). All ranks measure the same thing at the same time, so that
// they share caches, memory and power as they do in training. How: probe.h.
#pragma once

#include "base/units.h"
#include "executor/bootstrap/job.h"
#include "executor/calibration/probe.h"
#include "program/plan.h"
#include "traces/measurements.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::executor {

struct CalibrationRequest {
  std::int64_t num_ranks = 1;
  /// Always run, one step to warm up and at least one that counts, even if that takes longer than `max_time`.
  std::vector<Probe> probes;
  /// Run in their order as long as the next one is expected to end in time.
  std::vector<Probe> general;
  /// Whether to time collectives by themselves, from 32 bytes to 64 MiB. Those of the probes are always timed.
  bool collectives = true;
  Seconds max_time = seconds(45.0);
  std::string gemm;                       // back end by name; empty: the best one
  std::filesystem::path rank_executable;  // orrery-rank
  /// The processes that share the ranks; none: this one has all. Outlives the run. They time collectives together, over
  /// whatever carries their bytes; then process 0 runs the probes with the ranks of its own host.
  Job* job = nullptr;
  /// Told before each launch what it measures and which part of the time is over, from 0 to 1.
  std::function<void(std::string_view what, double done)> on_progress;
};

/// Everything that plans of `model` over `num_ranks` need, then general shapes and collectives.
CalibrationRequest calibration_request(const Source& source, const Model& model, const BatchShape& batch,
                                       DType precision, std::int64_t num_ranks);

/// `steps` of the result are of probes, by their number in the request, that were run once more when all samples were
/// taken: the points have not seen them, so they tell how far predictions are off. Processes of a job other than 0 get
/// nothing back. Throws: ConfigError, when CPU ranks cannot run a probe, or when types of numbers are mixed: points of
/// memory-bound ops do not say the type, so one calibration holds one. BackendError, when a rank fails.
Measurements calibrate_machine(const CalibrationRequest& request);

}  // namespace orrery::executor
