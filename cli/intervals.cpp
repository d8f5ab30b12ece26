// SPDX-License-Identifier: Apache-2.0
#include "cli/intervals.h"

#include "costmodel/calibrated_cost_model.h"
#include "costmodel/memory.h"
#include "costmodel/validation/memory_intervals.h"
#include "program/names.h"
#include "traces/activities.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <variant>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

// Predictions of published runs from tables alone were off by twice as much as with fitted numbers
// (docs/accuracy.md): what a kernel does to an interval that nothing is known of on the device. Networks, and shapes
// outside of the points where the form's numbers are stated, were extrapolated in most of the runs that intervals come
// from, which therefore hold that already.
constexpr double kExtrapolatedWidth = 2.0;

/// Whether the form and points of the calibration tell of such a kernel: attention of attention, products of products.
/// What only moves bytes goes by the form, as it did in the runs that intervals come from, if anything was measured.
bool tells_of(const costmodel::Calibration& calibration, OpCode op) {
  if (!calibration.kernels) return false;
  return std::any_of(calibration.points.begin(), calibration.points.end(), [&](const costmodel::OpPoint& point) {
    if (!is_product(op)) return true;
    const bool is_attention = std::holds_alternative<AttentionShape>(point.shape);
    return op == OpCode::attn_core ? is_attention : !is_attention && !std::holds_alternative<MemoryShape>(point.shape);
  });
}

/// Whether the time of anything but communication was extrapolated, and by nothing that the calibration states.
bool has_unknown_kernels(const std::vector<std::string>& ops, const costmodel::Calibration& calibration) {
  return std::any_of(ops.begin(), ops.end(), [&](const std::string& name) {
    const std::optional<OpCode> op = op_code_of(name);
    return !op || (!is_communication(*op) && !tells_of(calibration, *op));
  });
}

/// Whether it runs on a device that the calibration is not of, or under another limit than that device has in the
/// catalog. (Its points may be of yet another limit: the runs that intervals come from were predicted so, too.)
bool is_elsewhere(const Device& device, const costmodel::Calibration& calibration) {
  const auto* measured = std::get_if<Device>(&calibration.device);
  return is_of_another_device(calibration, device) ||
         (measured != nullptr && costmodel::are_different_limits(measured->power_limit, device.power_limit));
}

constexpr const char* kNoErrors = "no errors are known";

std::optional<Interval80<Seconds>> time_interval(const Plan& plan, Seconds step,
                                                 const std::vector<std::string>& extrapolated,
                                                 const costmodel::Calibration& calibration) {
  const bool tells_moe = plan.model.moe && calibration.interval_moe;
  const std::optional<costmodel::Interval>& interval = tells_moe ? calibration.interval_moe : calibration.interval;
  if (!interval) return std::nullopt;
  const bool is_wide =
      has_unknown_kernels(extrapolated, calibration) || is_elsewhere(plan.cluster.groups.front().device, calibration);
  const double width = is_wide ? kExtrapolatedWidth : 1.0;
  return {{.low = step * std::pow(interval->low, width), .high = step * std::pow(interval->high, width)}};
}

/// Of figures of reserved memory, as factors; nothing of a CPU rank.
std::optional<costmodel::Interval> memory_factors(const Device& device, const std::filesystem::path& catalog) {
  if (device.kind == DeviceKind::cpu) return std::nullopt;
  const std::filesystem::path path = catalog / "calibration" / "factors" / "memory.json";
  if (!std::filesystem::exists(path)) return std::nullopt;
  return costmodel::read_memory_intervals(path).find(costmodel::kAnyFramework, costmodel::kReserved);
}

std::optional<Interval80<Bytes>> memory_interval(Bytes peak, const Device& device,
                                                 const std::optional<costmodel::Interval>& factors) {
  if (!factors) return std::nullopt;
  const Bytes beside = std::min(peak, costmodel::MemoryModel::of(device).reserve);
  return {{.low = (peak - beside) * factors->low + beside, .high = (peak - beside) * factors->high + beside}};
}

template <class Q>
void add_interval(Report& report, const std::string& name, const std::string& label,
                  const std::optional<Interval80<Q>>& interval) {
  report.fact(name + "_low", label + " from", interval ? Value(interval->low) : Value::unknown(kNoErrors))
      .fact(name + "_high", label + " to", interval ? Value(interval->high) : Value::unknown(kNoErrors));
}

}  // namespace

void set_intervals(Plan& plan, const std::vector<std::string>& extrapolated, const costmodel::Calibration& calibration,
                   const std::filesystem::path& catalog) {
  const Device& device = plan.cluster.groups.front().device;
  const auto factors = memory_factors(device, catalog);
  for (Prediction& prediction : plan.predictions) {
    prediction.peak_memory_80 = memory_interval(prediction.peak_memory, device, factors);
    if (prediction.tier == "closed") continue;
    prediction.step_time_80 = time_interval(plan, prediction.step_time, extrapolated, calibration);
  }
}

void add_time_interval(Report& report, const Plan& plan, Seconds step, const std::vector<std::string>& extrapolated,
                       const costmodel::Calibration& calibration) {
  add_interval(report, "step_time", "80 % interval,", time_interval(plan, step, extrapolated, calibration));
}

void add_memory_interval(Report& report, Bytes peak, const Device& device, const std::filesystem::path& catalog) {
  if (device.kind == DeviceKind::cpu) return;
  const auto factors = memory_factors(device, catalog);
  if (factors) {
    report.note(
        fmt::format("memory: 80 % of {} published runs of several frameworks reserved {:.4g} to {:.4g} times what is "
                    "predicted for none of them",
                    factors->num_runs, factors->low, factors->high));
  }
  add_interval(report, "peak_memory", "memory, 80 %", memory_interval(peak, device, factors));
}

}  // namespace orrery::cli
