// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_intervals.h"

#include "base/check.h"
#include "base/median.h"
#include "traces/activities.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <variant>

namespace orrery::costmodel {
namespace {

/// Who is asked first, and who if these are few.
using Alike = bool (*)(const HeldOut&, const HeldOut&);
constexpr Alike kAlike[] = {
    [](const HeldOut& a, const HeldOut& b) { return a.group == b.group && a.is_moe == b.is_moe; },
    [](const HeldOut& a, const HeldOut& b) { return a.group == b.group; },
    [](const HeldOut& a, const HeldOut& b) { return a.framework == b.framework && a.is_moe == b.is_moe; },
    [](const HeldOut& a, const HeldOut& b) { return a.framework == b.framework; },
};

/// The errors of other cells that tell most of a run's.
std::vector<HeldOut> neighbours(std::span<const HeldOut> errors, const HeldOut& run) {
  std::vector<HeldOut> out;
  for (const Alike alike : kAlike) {
    out.clear();
    for (const HeldOut& other : errors) {
      if (other.cell != run.cell && alike(other, run)) out.push_back(other);
    }
    if (out.size() >= kFewErrors) return out;
  }
  out.clear();
  for (const HeldOut& other : errors) {
    if (other.cell != run.cell) out.push_back(other);
  }
  return out;
}

bool says_something(const Interval& interval) { return interval.num_runs > 0; }

/// The value below which a share of the weight lies.
double quantile(const std::vector<std::pair<double, double>>& sorted, double total, double share) {
  double below = 0.0;
  for (const auto& [value, weight] : sorted) {
    below += weight;
    if (below >= share * total) return value;
  }
  return sorted.back().first;
}

}  // namespace

Interval widened(const Interval& interval) {
  Interval out = interval;
  out.low = std::pow(interval.low, kUnknownWidth);
  out.high = std::pow(interval.high, kUnknownWidth);
  return out;
}

bool tells_of(const Calibration& calibration, OpCode op) {
  if (!calibration.kernels) return false;
  return std::any_of(calibration.points.begin(), calibration.points.end(), [&](const OpPoint& point) {
    if (!is_product(op)) return true;
    const bool is_attention = std::holds_alternative<AttentionShape>(point.shape);
    return op == OpCode::attn_core ? is_attention : !is_attention && !std::holds_alternative<MemoryShape>(point.shape);
  });
}

bool has_seen(const Interval& interval, std::string_view device) {
  return std::find(interval.devices.begin(), interval.devices.end(), device) != interval.devices.end();
}

Interval interval_of(std::span<const HeldOut> errors) {
  CHECK(!errors.empty());
  std::map<std::string, double> in_cell;
  std::set<std::string> devices;
  for (const HeldOut& error : errors) {
    in_cell[error.cell] += 1.0;
    if (!error.device.empty()) devices.insert(error.device);
  }
  std::vector<std::pair<double, double>> sorted;
  double total = 0.0;
  for (const HeldOut& error : errors) {
    const double weight = 1.0 / std::sqrt(in_cell[error.cell]);
    sorted.emplace_back(error.log_ratio, weight);
    total += weight;
  }
  std::sort(sorted.begin(), sorted.end());
  const double tail = (1.0 - kIntervalShare) / 2.0;
  // The prediction itself is always inside: an interval that leaves it out would deny what it belongs to.
  return {.low = std::exp(std::min(0.0, quantile(sorted, total, tail))),
          .high = std::exp(std::max(0.0, quantile(sorted, total, 1.0 - tail))),
          .num_runs = static_cast<std::int64_t>(errors.size()),
          .devices = {devices.begin(), devices.end()}};
}

Interval interval_of_few(std::span<const HeldOut> errors) {
  Interval out = interval_of(errors);
  std::map<std::string, double> in_cell;
  for (const HeldOut& error : errors) in_cell[error.cell] += 1.0;
  std::vector<std::pair<double, double>> sorted;
  double total = 0.0;
  for (const HeldOut& error : errors) {
    sorted.emplace_back(error.log_ratio, 1.0 / std::sqrt(in_cell[error.cell]));
    total += sorted.back().second;
  }
  std::sort(sorted.begin(), sorted.end());
  const double next = total / static_cast<double>(in_cell.size());
  const double tail = (1.0 - kIntervalShare) / 2.0 * (total + next);
  const auto end_of = [&](auto from, auto to) {
    double taken = from->second, value = from->first;
    for (auto at = std::next(from); at != to && taken + at->second <= tail; ++at) {
      taken += at->second;
      value = at->first;
    }
    return value;
  };
  out.low = std::exp(std::min(0.0, end_of(sorted.begin(), sorted.end())));
  out.high = std::exp(std::max(0.0, end_of(sorted.rbegin(), sorted.rend())));
  return out;
}

std::vector<Interval> intervals_without_own_cell(std::span<const HeldOut> errors) {
  std::map<std::tuple<std::string, std::string, bool>, Interval> known;
  std::vector<Interval> out;
  for (const HeldOut& run : errors) {
    const auto [found, is_new] = known.try_emplace({run.group, run.cell, run.is_moe});
    if (is_new) {
      const std::vector<HeldOut> used = neighbours(errors, run);
      if (!used.empty()) found->second = interval_of(used);
    }
    const Interval& interval = found->second;
    const bool is_unknown = run.has_unknown_kernels && !has_seen(interval, run.device);
    out.push_back(is_unknown && says_something(interval) ? widened(interval) : interval);
  }
  return out;
}

std::vector<Interval> one_interval_without_own_cell(std::span<const HeldOut> errors) {
  std::map<std::string, Interval> known;  // by cell
  std::vector<Interval> out;
  for (const HeldOut& run : errors) {
    const auto [found, is_new] = known.try_emplace(run.cell);
    if (is_new) {
      std::vector<HeldOut> others;
      std::copy_if(errors.begin(), errors.end(), std::back_inserter(others),
                   [&](const HeldOut& other) { return other.cell != run.cell; });
      if (!others.empty()) found->second = interval_of(others);
    }
    out.push_back(found->second);
  }
  return out;
}

std::optional<double> interval_score(std::span<const HeldOut> errors, std::span<const Interval> intervals) {
  CHECK(errors.size() == intervals.size(), errors.size(), intervals.size());
  const double penalty = 2.0 / (1.0 - kIntervalShare);
  double sum = 0.0, n = 0.0;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    if (!says_something(intervals[i])) continue;
    const double low = std::log(intervals[i].low), high = std::log(intervals[i].high), at = errors[i].log_ratio;
    sum += high - low + penalty * (std::max(0.0, low - at) + std::max(0.0, at - high));
    n += 1.0;
  }
  if (n == 0.0) return std::nullopt;
  return sum / n;
}

std::optional<Coverage> coverage_of(std::span<const HeldOut> errors, std::span<const Interval> intervals) {
  CHECK(errors.size() == intervals.size(), errors.size(), intervals.size());
  std::vector<double> half_widths, absolute;
  double inside = 0.0;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    if (!says_something(intervals[i])) continue;
    const double ratio = std::exp(errors[i].log_ratio);
    inside += ratio >= intervals[i].low && ratio <= intervals[i].high ? 1.0 : 0.0;
    half_widths.push_back((intervals[i].high - intervals[i].low) / 2.0);
    absolute.push_back(std::abs(1.0 / ratio - 1.0));
  }
  if (absolute.empty()) return std::nullopt;
  Coverage out{.share = inside / static_cast<double>(absolute.size()), .width_over_error = {}};
  if (const double error = median(absolute); error > 0.0) out.width_over_error = median(half_widths) / error;
  return out;
}

}  // namespace orrery::costmodel
