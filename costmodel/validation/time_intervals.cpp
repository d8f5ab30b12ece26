// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_intervals.h"

#include "base/check.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace orrery::costmodel {
namespace {

// Fewer errors than this tell little of their tenths.
constexpr std::size_t kFew = 10;

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

Interval interval_of(std::span<const HeldOut> errors) {
  CHECK(!errors.empty());
  std::map<std::string, double> in_cell;
  for (const HeldOut& error : errors) in_cell[error.cell] += 1.0;
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
          .num_runs = static_cast<std::int64_t>(errors.size())};
}

std::vector<Interval> intervals_without_own_cell(std::span<const HeldOut> errors) {
  std::map<std::pair<std::string, std::string>, Interval> known;
  std::vector<Interval> out;
  for (const HeldOut& run : errors) {
    const auto [found, is_new] = known.try_emplace({run.group, run.cell});
    if (is_new) {
      std::vector<HeldOut> near, related, all;
      for (const HeldOut& other : errors) {
        if (other.cell == run.cell) continue;
        all.push_back(other);
        if (other.framework == run.framework) related.push_back(other);
        if (other.group == run.group) near.push_back(other);
      }
      const std::vector<HeldOut>& used = near.size() >= kFew ? near : related.size() >= kFew ? related : all;
      if (!used.empty()) found->second = interval_of(used);
    }
    out.push_back(found->second);
  }
  return out;
}

double interval_score(std::span<const HeldOut> errors, std::span<const Interval> intervals) {
  CHECK(errors.size() == intervals.size() && !errors.empty(), errors.size(), intervals.size());
  const double penalty = 2.0 / (1.0 - kIntervalShare);
  double sum = 0.0;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    const double low = std::log(intervals[i].low), high = std::log(intervals[i].high), at = errors[i].log_ratio;
    sum += high - low + penalty * (std::max(0.0, low - at) + std::max(0.0, at - high));
  }
  return sum / static_cast<double>(errors.size());
}

}  // namespace orrery::costmodel
