// SPDX-License-Identifier: Apache-2.0
#include "planner/disagreement.h"

#include "base/median.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

namespace orrery::planner {
namespace {

using Times = std::vector<std::pair<Seconds, Seconds>>;

const Prediction* prediction_of(const RankedPlan& plan, std::string_view tier) {
  const auto found = std::ranges::find(plan.predictions, tier, &Prediction::tier);
  return found == plan.predictions.end() ? nullptr : &*found;
}

Times times_of(const std::vector<RankedPlan>& plans, std::string_view first, std::string_view second) {
  Times times;
  for (const RankedPlan& plan : plans) {
    const Prediction *a = prediction_of(plan, first), *b = prediction_of(plan, second);
    if (a != nullptr && b != nullptr) times.emplace_back(a->step_time, b->step_time);
  }
  return times;
}

Disagreement between(std::string_view first, std::string_view second, const Times& times) {
  Disagreement out{.first = std::string(first), .second = std::string(second), .num_plans = std::ssize(times)};
  std::vector<double> distances;
  for (std::size_t i = 0; i < times.size(); ++i) {
    const auto& [a, b] = times[i];
    distances.push_back(std::abs(b / a - 1.0));
    for (std::size_t j = 0; j < i; ++j) {
      ++out.num_pairs;
      const bool is_swap = (a < times[j].first && b > times[j].second) || (a > times[j].first && b < times[j].second);
      if (is_swap) ++out.num_swaps;
    }
  }
  out.median = median(distances);
  out.largest = std::ranges::max(distances);
  return out;
}

}  // namespace

std::vector<Disagreement> disagreements(const std::vector<RankedPlan>& plans) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kTiers = {
      {{"closed", "analytic"}, {"analytic", "simgrid"}, {"closed", "simgrid"}}};
  std::vector<Disagreement> out;
  for (const auto& [first, second] : kTiers) {
    const Times times = times_of(plans, first, second);
    if (times.size() >= 2) out.push_back(between(first, second, times));
  }
  return out;
}

}  // namespace orrery::planner
