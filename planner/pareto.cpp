// SPDX-License-Identifier: Apache-2.0
#include "planner/pareto.h"

#include "base/units_format.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

constexpr double kMemoryGap = 1e-3;

Bytes memory_of(const RankedPlan& plan) { return plan.predictions.back().peak_memory; }
Seconds step_of(const RankedPlan& plan) { return plan.predictions.back().step_time; }

const RankedPlan& smallest(const SearchResult& result) {
  return *std::min_element(result.ranked.begin(), result.ranked.end(),
                           [](const RankedPlan& a, const RankedPlan& b) { return memory_of(a) < memory_of(b); });
}

/// Keeps the points that no other beats: `first` and `second` are what is made least. Of equal ones, one.
template <class First, class Second>
void keep_unbeaten(std::vector<FrontPoint>& points, First first, Second second) {
  std::stable_sort(points.begin(), points.end(), [&](const FrontPoint& a, const FrontPoint& b) {
    return first(a.plan) != first(b.plan) ? first(a.plan) < first(b.plan) : second(a.plan) < second(b.plan);
  });
  std::vector<FrontPoint> front;
  for (FrontPoint& point : points) {
    if (front.empty() || second(point.plan) < second(front.back().plan)) front.push_back(std::move(point));
  }
  points = std::move(front);
}

FrontPoint best_of(SearchResult result) {
  return {.plan = std::move(result.ranked.front()), .certificate = std::move(result.certificate)};
}

struct Halved {
  Bytes least;   // for which a search found something
  Bytes none;    // for which none did
  Bytes proven;  // for which nothing fits; zero: no search saw everything
};

/// From limits for which a search finds something and nothing to such that are a thousandth apart.
Halved halve(const SearchWith& search, const StepWeights& weights, Bytes least, Bytes none) {
  Halved out{.least = least, .none = none, .proven = {}};
  while (out.least - out.none > out.least * kMemoryGap) {
    const Bytes middle = (out.least + out.none) * 0.5;
    const auto tried = search(middle, weights);
    if (const auto* found = std::get_if<SearchResult>(&tried)) {
      out.least = memory_of(smallest(*found));
      continue;
    }
    out.none = middle;
    if (std::get<Infeasible>(tried).saw_everything) out.proven = middle;
  }
  return out;
}

}  // namespace

std::variant<SearchResult, Infeasible> search_least_memory(const SearchWith& search, std::optional<Bytes> limit) {
  auto outcome = search(limit, {});
  if (std::holds_alternative<Infeasible>(outcome)) return outcome;
  const auto [least, none, proven] = halve(search, {}, memory_of(smallest(std::get<SearchResult>(outcome))), Bytes());
  outcome = search(least, {});
  Certificate& certificate = std::get<SearchResult>(outcome).certificate;
  certificate.gap.reset();
  if (proven > Bytes()) certificate.gap = (least - proven) / least;
  const std::string claim = proven > Bytes()
                                ? fmt::format("exhaustive: nothing fits into {}; of what does, the fastest", proven)
                                : fmt::format("heuristic: a search found nothing for {}, and did not see all", none);
  certificate.domain.push_back({.name = "memory", .domain = fmt::format("at most {}", least), .claim = claim});
  return outcome;
}

std::variant<Front, Infeasible> memory_front(const SearchWith& search, const StepWeights& weights,
                                             std::optional<Bytes> limit, std::int64_t num_steps) {
  Front front;
  const auto add = [&](SearchResult result) {
    front.points.push_back(best_of(std::move(result)));
    return memory_of(front.points.back().plan);
  };
  std::optional<Bytes> step;
  while (true) {
    auto outcome = search(limit, weights);
    if (auto* infeasible = std::get_if<Infeasible>(&outcome)) {
      if (front.points.empty()) return std::move(*infeasible);
      // The end of the front lies between the last two limits.
      if (num_steps == 0 || std::ssize(front.points) >= num_steps) break;
      const Bytes least = halve(search, weights, memory_of(front.points.back().plan), *limit).least;
      if (least < memory_of(front.points.back().plan)) add(std::get<SearchResult>(search(least, weights)));
      break;
    }
    const Bytes memory = add(std::move(std::get<SearchResult>(outcome)));
    if (!step) step = num_steps == 0 ? bytes(1.0) : memory * (1.0 / static_cast<double>(num_steps));
    if (memory <= *step) break;
    limit = memory - *step;
  }
  front.claim = num_steps == 0 ? "every limit of memory at which the answer changes, each to its gap"
                               : fmt::format(
                                     "limits of memory that fall by at least {}, and the least that a search "
                                     "found: others may lie between two points",
                                     *step);
  keep_unbeaten(
      front.points, [&](const RankedPlan& plan) { return weights.of(step_of(plan), plan.active); }, memory_of);
  return front;
}

std::variant<Front, Infeasible> time_front(const SearchWith& search, const StepWeights& weights,
                                           std::optional<Bytes> limit, std::int64_t most) {
  const auto other = [&](const RankedPlan& plan) { return weights.of(step_of(plan), plan.active); };
  Front front;
  // Time with hardly any weight on work, so that time at work is known of the fastest too.
  constexpr double kHardly = 1e-9;
  constexpr StepWeights kTime{.time = 1.0, .products = kHardly, .streaming = kHardly, .limit = kHardly};
  for (const StepWeights& end : {kTime, weights}) {
    auto outcome = search(limit, end);
    if (auto* infeasible = std::get_if<Infeasible>(&outcome)) return std::move(*infeasible);
    front.points.push_back(best_of(std::move(std::get<SearchResult>(outcome))));
  }
  keep_unbeaten(front.points, step_of, other);
  // Between two neighbours: their sum is the same under weights across them.
  std::size_t left = 0;
  while (left + 1 < front.points.size() && static_cast<std::int64_t>(front.points.size()) < most) {
    const RankedPlan &a = front.points[left].plan, &b = front.points[left + 1].plan;
    const double of_time = (other(a) - other(b)) / (step_of(b) - step_of(a));
    StepWeights across = weights;
    across.time += of_time;
    const Seconds known = across.of(step_of(a), a.active);
    auto outcome = search(limit, across);
    FrontPoint point = best_of(std::move(std::get<SearchResult>(outcome)));
    const bool is_between = step_of(point.plan) > step_of(a) && other(point.plan) > other(b);
    if (is_between && across.of(step_of(point.plan), point.plan.active) < known * (1.0 - 1e-9)) {
      front.points.insert(front.points.begin() + static_cast<std::ptrdiff_t>(left) + 1, std::move(point));
    } else {
      ++left;
    }
  }
  keep_unbeaten(front.points, step_of, other);
  front.claim = "points that some weights of the two make least, each to its gap: others may lie between two points";
  return front;
}

}  // namespace orrery::planner
