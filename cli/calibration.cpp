// SPDX-License-Identifier: Apache-2.0
#include "cli/calibration.h"

#include "base/files.h"
#include "cli/machine.h"
#include "cli/progress.h"
#include "executor/calibration/calibration_run.h"
#include "executor/runtime/cpu_interpreter.h"

#include <utility>

namespace orrery::cli {

MachineCalibration calibrate_this_machine(const Source& source, const Model& model, const BatchShape& batch,
                                          DType precision, std::int64_t num_ranks, Seconds max_time,
                                          executor::Job* job) {
  MachineCalibration machine;
  const std::int64_t num_ranks_here = job == nullptr ? num_ranks : job->num_ranks_on_host();
  machine.cluster = this_machine(num_ranks_here);
  executor::CalibrationRequest request = executor::calibration_request(source, model, batch, precision, num_ranks_here);
  request.num_ranks = num_ranks;
  request.job = job;
  request.max_time = max_time;
  request.rank_executable = executor::rank_executable_beside_this();
  ProgressLine progress;
  if (job == nullptr || job->is_first()) {
    request.on_progress = [&](std::string_view, double done) {
      progress.update("calibrate", static_cast<std::int64_t>(100.0 * done), 100);
    };
  }
  const Measurements measured = executor::calibrate_machine(request);
  if (job != nullptr && !job->is_first()) return machine;
  machine.calibration = costmodel::calibration_of(measured);
  machine.calibration.device = machine.cluster.groups.front().device;
  return machine;
}

Report calibration_report(const MachineCalibration& machine) {
  const costmodel::Calibration& measured = machine.calibration;
  Report report("Calibration");
  report.fact("device", "device", machine.cluster.groups.front().device.name)
      .fact("active_ranks", "ranks, busy at the same time", measured.conditions.active_ranks)
      .fact("threads_per_rank", "threads of a rank", measured.conditions.threads_per_rank.value_or(0))
      .fact("software", "software", measured.software)
      .fact("points", "measured ops", measured.points.size())
      .fact("collectives", "measured collectives", measured.collectives.size());
  return report;
}

void write_calibration(const MachineCalibration& machine, const std::filesystem::path& calibration,
                       const std::filesystem::path& cluster) {
  write_file_atomically(calibration.string(), costmodel::to_json(machine.calibration));
  write_file_atomically(cluster.string(), to_json(machine.cluster));
}

}  // namespace orrery::cli
