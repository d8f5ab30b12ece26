// SPDX-License-Identifier: Apache-2.0
#include "cli/intervals.h"

#include "cli/prediction.h"
#include "costmodel/calibrated_cost_model.h"
#include "costmodel/framework.h"
#include "costmodel/memory.h"
#include "costmodel/validation/memory_intervals.h"
#include "costmodel/validation/memory_score.h"
#include "costmodel/validation/time_intervals.h"
#include "program/names.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

using costmodel::MemoryFigure;

constexpr const char* kNoErrors = "no errors are known";

/// Whether the time of anything but communication was extrapolated, and by nothing that the calibration states.
/// Networks, and shapes outside of the points where the form's numbers are stated, were extrapolated in most of the
/// runs that intervals come from, which therefore hold that already.
bool has_unknown_kernels(const std::vector<std::string>& ops, const costmodel::Calibration& calibration) {
  return std::any_of(ops.begin(), ops.end(), [&](const std::string& name) {
    const std::optional<OpCode> op = op_code_of(name);
    return !op || (!is_communication(*op) && !costmodel::tells_of(calibration, *op));
  });
}

/// Whether it runs on a device that the calibration is not of, or under another limit than that device has in the
/// catalog. (Its points may be of yet another limit: the runs that intervals come from were predicted so, too.)
bool is_elsewhere(const Device& device, const costmodel::Calibration& calibration) {
  const auto* measured = std::get_if<Device>(&calibration.device);
  return is_of_another_device(calibration, device) ||
         (measured != nullptr && costmodel::are_different_limits(measured->power_limit, device.power_limit));
}

bool is_cpu(const Plan& plan) { return plan.cluster.groups.front().device.kind == DeviceKind::cpu; }

costmodel::Interval scaled(const costmodel::Interval& of, double low, double high) {
  costmodel::Interval out = of;
  out.low *= low;
  out.high *= high;
  return out;
}

/// Factors on what a framework is predicted to reserve: of figures of that, or of what is allocated, with the least and
/// the most that its allocator was ever seen to add. Nothing where fewer runs are known than tell a tenth.
std::optional<costmodel::Interval> factors_of(const costmodel::MemoryIntervals& known,
                                              const costmodel::Framework& framework) {
  const auto find = [&](MemoryFigure figure) { return known.find(framework.memory_like, name_of(figure)); };
  for (const MemoryFigure figure : {MemoryFigure::reserved_peak, MemoryFigure::reserved_peak_of_first}) {
    const auto found = find(figure);
    if (found && std::cmp_greater_equal(found->num_runs, costmodel::kFewErrors)) return found;
  }
  const auto allocated = find(MemoryFigure::allocated_peak);
  const bool is_known = framework.largest_fragmentation > 0.0 && allocated &&
                        std::cmp_greater_equal(allocated->num_runs, costmodel::kFewErrors);
  if (!is_known) return std::nullopt;
  const double taken = 1.0 + framework.fragmentation;
  return scaled(*allocated, (1.0 + framework.least_fragmentation) / taken,
                (1.0 + framework.largest_fragmentation) / taken);
}

/// What the catalog states for the framework that the plan names, or of any; nothing of CPU ranks.
std::optional<costmodel::Interval> memory_factors(const Plan& plan, const std::filesystem::path& catalog) {
  if (is_cpu(plan)) return std::nullopt;
  const std::filesystem::path path = catalog / "calibration" / "factors" / "memory.json";
  if (!std::filesystem::exists(path)) return std::nullopt;
  const costmodel::MemoryIntervals known = costmodel::read_memory_intervals(path);
  if (plan.framework.empty()) return known.find(costmodel::kAnyFramework, costmodel::kReserved);
  return factors_of(known, costmodel::framework_named(plan.framework));
}

std::optional<costmodel::Interval> time_factors(const Plan& plan, const std::vector<std::string>& extrapolated,
                                                const costmodel::Calibration& known) {
  const std::optional<costmodel::Interval>& interval =
      plan.model.moe && known.interval_moe ? known.interval_moe : known.interval;
  if (!interval) return std::nullopt;
  const bool is_unknown =
      has_unknown_kernels(extrapolated, known) && !costmodel::has_seen(*interval, known.device_name);
  const bool is_wide = is_unknown || is_elsewhere(plan.cluster.groups.front().device, known);
  return is_wide ? costmodel::widened(*interval) : *interval;
}

std::optional<Interval80<Seconds>> time_interval(Seconds step, const std::optional<costmodel::Interval>& factors) {
  if (!factors) return std::nullopt;
  return {{.low = step * factors->low, .high = step * factors->high}};
}

Bytes early_messages(const Plan& plan, const Strategy& strategy) {
  Plan other = plan;
  other.strategy = strategy;
  const std::vector<costmodel::MemoryByCause> ranks = memory_of(other);
  return std::max_element(ranks.begin(), ranks.end(),
                          [](const auto& a, const auto& b) { return a.total() < b.total(); })
      ->communication;
}

/// Of a GPU.
std::optional<Interval80<Bytes>> memory_interval(const Plan& plan, Bytes peak,
                                                 const std::optional<costmodel::Interval>& factors) {
  if (!factors) return std::nullopt;
  const Device& device = plan.cluster.groups.front().device;
  const Bytes beside = std::min(peak, costmodel::MemoryModel::of(device, plan.framework).reserve);
  return {{.low = (peak - beside) * factors->low + beside, .high = (peak - beside) * factors->high + beside}};
}

std::optional<Interval80<Bytes>> memory_interval(const Plan& plan, Bytes peak, const Strategy& strategy,
                                                 const std::optional<costmodel::Interval>& factors) {
  if (!is_cpu(plan)) return memory_interval(plan, peak, factors);
  return {{.low = peak - std::min(peak, early_messages(plan, strategy)), .high = peak}};
}

}  // namespace

Intervals::Intervals(const Plan& plan, const costmodel::Calibration& calibration, const std::filesystem::path& catalog)
    : plan_(plan), calibration_(&calibration), memory_(memory_factors(plan, catalog)) {}

Intervals::Intervals(const Plan& plan, const std::filesystem::path& catalog)
    : plan_(plan), calibration_(nullptr), memory_(memory_factors(plan, catalog)) {}

std::optional<costmodel::Interval> Intervals::step_factors(const std::vector<std::string>& extrapolated) const {
  return calibration_ == nullptr ? std::nullopt : time_factors(plan_, extrapolated, *calibration_);
}

std::optional<Interval80<Seconds>> Intervals::of_step(Seconds step,
                                                      const std::vector<std::string>& extrapolated) const {
  return time_interval(step, step_factors(extrapolated));
}

std::optional<Interval80<Bytes>> Intervals::of_memory(Bytes peak, const Strategy& strategy) const {
  return memory_interval(plan_, peak, strategy, memory_);
}

std::optional<Interval80<Bytes>> Intervals::of_like_memory(Bytes peak) const {
  return memory_interval(plan_, peak, memory_);
}

void Intervals::set(std::vector<Prediction>& predictions, const Strategy& strategy,
                    const std::vector<std::string>& extrapolated) const {
  std::optional<Interval80<Seconds>> of_step;
  for (Prediction& prediction : predictions) {
    prediction.peak_memory_80 = of_memory(prediction.peak_memory, strategy);
    if (prediction.tier == "closed") continue;
    of_step = prediction.step_time_80 = this->of_step(prediction.step_time, extrapolated);
  }
  if (!of_step || predictions.front().tier != "closed") return;
  Prediction& closed = predictions.front();
  closed.step_time_80 = {
      {.low = std::min(of_step->low, closed.step_time), .high = std::max(of_step->high, closed.step_time)}};
}

void Intervals::note(Report& report, const std::vector<std::string>& extrapolated) const {
  std::string text;
  if (const auto factors = step_factors(extrapolated)) {
    text = fmt::format("a step takes {:.4g} to {:.4g} times what is predicted", factors->low, factors->high);
  }
  if (memory_) {
    text += fmt::format("{}ranks reserve {:.4g} to {:.4g} times what is predicted", text.empty() ? "" : ", ",
                        memory_->low, memory_->high);
  }
  if (!text.empty()) report.note("in four of five cases " + text);
}

template <class Q>
void add_interval_columns(Table& table, const std::string& key, const std::vector<std::optional<Interval80<Q>>>& of) {
  table.columns.push_back({.key = key + "_low", .label = "", .for_machines = true});
  table.columns.push_back({.key = key + "_high", .label = "", .for_machines = true});
  for (std::size_t i = 0; i < of.size(); ++i) {
    table.rows[i].push_back(of[i] ? Value(of[i]->low) : Value::unknown(kNoErrors));
    table.rows[i].push_back(of[i] ? Value(of[i]->high) : Value::unknown(kNoErrors));
  }
}
template void add_interval_columns(Table&, const std::string&, const std::vector<std::optional<Interval80<Seconds>>>&);
template void add_interval_columns(Table&, const std::string&, const std::vector<std::optional<Interval80<Bytes>>>&);

template <class Q>
void add_interval(Report& report, const std::string& key, const std::string& label,
                  const std::optional<Interval80<Q>>& interval) {
  report.fact(key + "_low", label + " from", interval ? Value(interval->low) : Value::unknown(kNoErrors))
      .fact(key + "_high", label + " to", interval ? Value(interval->high) : Value::unknown(kNoErrors));
}
template void add_interval(Report&, const std::string&, const std::string&, const std::optional<Interval80<Seconds>>&);
template void add_interval(Report&, const std::string&, const std::string&, const std::optional<Interval80<Bytes>>&);

void set_intervals(Plan& plan, const std::vector<std::string>& extrapolated, const costmodel::Calibration& calibration,
                   const std::filesystem::path& catalog) {
  Intervals(plan, calibration, catalog).set(plan.predictions, plan.strategy, extrapolated);
}

void add_time_interval(Report& report, const Plan& plan, Seconds step, const std::vector<std::string>& extrapolated,
                       const costmodel::Calibration& calibration) {
  add_interval(report, "step_time", "80 % interval,",
               time_interval(step, time_factors(plan, extrapolated, calibration)));
}

void add_memory_interval(Report& report, const Plan& plan, Bytes peak, const std::filesystem::path& catalog) {
  const auto factors = memory_factors(plan, catalog);
  if (factors && plan.framework.empty()) {
    report.note(
        fmt::format("memory: 80 % of {} published runs of several frameworks reserved {:.4g} to {:.4g} times what is "
                    "predicted for none of them; --framework NAME is of one",
                    factors->num_runs, factors->low, factors->high));
  } else if (factors) {
    report.note(
        fmt::format("memory: as {} takes it, of which {} published runs say {:.4g} to {:.4g} times what is "
                    "predicted",
                    plan.framework, factors->num_runs, factors->low, factors->high));
  }
  add_interval(report, "peak_memory", "memory, 80 %", memory_interval(plan, peak, plan.strategy, factors));
}

}  // namespace orrery::cli
