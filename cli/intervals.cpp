// SPDX-License-Identifier: Apache-2.0
#include "cli/intervals.h"

#include "costmodel/memory.h"
#include "costmodel/validation/memory_intervals.h"
#include "program/names.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

// Predictions of published runs from tables alone were off by twice as much as with fitted numbers
// (docs/accuracy.md): what a kernel does to an interval that nothing is known of on the device. Networks, and shapes
// outside of the points where the form's numbers are stated, were extrapolated in most of the runs that intervals come
// from, which therefore hold that already.
constexpr double kExtrapolatedWidth = 2.0;

/// Whether the time of anything but communication was extrapolated, and by nothing that the calibration states.
bool has_unknown_kernels(const std::vector<std::string>& ops, const costmodel::Calibration& calibration) {
  return !calibration.kernels && std::any_of(ops.begin(), ops.end(), [](const std::string& name) {
    const std::optional<OpCode> op = op_code_of(name);
    return !op || !is_communication(*op);
  });
}

constexpr const char* kNoErrors = "no errors are known";

}  // namespace

void add_time_interval(Report& report, const Plan& plan, Seconds step, const std::vector<std::string>& extrapolated,
                       const costmodel::Calibration& calibration) {
  const bool tells_moe = plan.model.moe && calibration.interval_moe;
  const std::optional<costmodel::Interval>& interval = tells_moe ? calibration.interval_moe : calibration.interval;
  const double width = has_unknown_kernels(extrapolated, calibration) ? kExtrapolatedWidth : 1.0;
  const auto at = [&](double factor) { return step * std::pow(factor, width); };
  report.fact("step_time_low", "80 % interval, from", interval ? Value(at(interval->low)) : Value::unknown(kNoErrors))
      .fact("step_time_high", "80 % interval, to", interval ? Value(at(interval->high)) : Value::unknown(kNoErrors));
}

void add_memory_interval(Report& report, Bytes peak, const Device& device, const std::filesystem::path& catalog) {
  if (device.kind == DeviceKind::cpu) return;
  const std::filesystem::path path = catalog / "calibration" / "factors" / "memory.json";
  std::optional<costmodel::Interval> interval;
  if (std::filesystem::exists(path)) {
    interval = costmodel::read_memory_intervals(path).find(costmodel::kAnyFramework, costmodel::kReserved);
  }
  const Bytes beside = std::min(peak, costmodel::MemoryModel::of(device).reserve);
  const auto at = [&](double factor) { return (peak - beside) * factor + beside; };
  if (interval) {
    report.note(
        fmt::format("memory: 80 % of {} published runs of several frameworks reserved {:.4g} to {:.4g} times what is "
                    "predicted for none of them",
                    interval->num_runs, interval->low, interval->high));
  }
  report.fact("peak_memory_low", "memory, 80 % from", interval ? Value(at(interval->low)) : Value::unknown(kNoErrors))
      .fact("peak_memory_high", "memory, 80 % to", interval ? Value(at(interval->high)) : Value::unknown(kNoErrors));
}

}  // namespace orrery::cli
