// SPDX-License-Identifier: Apache-2.0
#include "planner/least_bottleneck.h"

#include "base/check.h"

#include <algorithm>
#include <limits>

namespace orrery::planner {
namespace {

constexpr Seconds kNever = Seconds::from_si(std::numeric_limits<double>::infinity());

/// Over the least bottleneck without recomputation; a cut within a limit is the best of all. None of them: no limit.
constexpr std::array<double, 6> kLimits = {1.0, 1.03, 1.1, 1.2, 1.4, 2.0};

}  // namespace

LeastBottleneck::LeastBottleneck(std::int64_t num_units, std::int64_t num_stages, const Least& least)
    : num_units_(num_units), num_stages_(num_stages) {
  CHECK(num_units >= 1 && num_stages >= 1, num_units, num_stages);
  const std::int64_t n = num_units, p = num_stages;
  const std::array<std::int64_t, 3> stages = {0, 1, p - 1};
  for (std::size_t kind = 0; kind < stages.size(); ++kind) {
    if (kind == 1 && p < 3) continue;
    std::vector<Seconds>& times = least_[kind];
    times.assign(static_cast<std::size_t>((n + 1) * (n + 1)), kNever);
    for (std::int64_t first = 0; first <= n; ++first) {
      for (std::int64_t end = is_end(stages[kind]) ? first : first + 1; end <= n; ++end) {
        times[static_cast<std::size_t>(first * (n + 1) + end)] = least(stages[kind], first, end);
      }
    }
  }
  before_.assign(static_cast<std::size_t>((p + 1) * (n + 1)), kNever);
  behind_ = before_;
  before_[at(0, 0)] = Seconds();
  behind_[at(p, n)] = Seconds();
  for (std::int64_t stage = 0; stage < p; ++stage) {
    for (std::int64_t first = 0; first <= n; ++first) {
      for (std::int64_t end = first; end <= n; ++end) {
        Seconds& longest = before_[at(stage + 1, end)];
        longest = std::min(longest, std::max(before_[at(stage, first)], this->least(stage, first, end)));
      }
    }
  }
  for (std::int64_t stage = p - 1; stage >= 0; --stage) {
    for (std::int64_t first = 0; first <= n; ++first) {
      for (std::int64_t end = first; end <= n; ++end) {
        Seconds& longest = behind_[at(stage, first)];
        longest = std::min(longest, std::max(behind_[at(stage + 1, end)], this->least(stage, first, end)));
      }
    }
  }
}

Seconds LeastBottleneck::least(std::int64_t stage, std::int64_t first, std::int64_t end) const {
  const std::size_t kind = stage == 0 ? 0 : stage + 1 == num_stages_ ? 2 : 1;
  return least_[kind][static_cast<std::size_t>(first * (num_units_ + 1) + end)];
}

template <class Combine>
LeastBottleneck::Pass LeastBottleneck::run(Seconds most, const Fitting& fitting, Combine combine) const {
  const std::int64_t n = num_units_;
  Pass pass{.best = std::vector<Seconds>(behind_.size(), kNever), .end = std::vector<std::int64_t>(behind_.size(), -1)};
  pass.best[at(num_stages_, n)] = Seconds();
  for (std::int64_t stage = num_stages_ - 1; stage >= 0; --stage) {
    for (std::int64_t first = 0; first <= n; ++first) {
      if (before_[at(stage, first)] > most || behind_[at(stage, first)] > most) continue;
      Seconds& best = pass.best[at(stage, first)];
      for (std::int64_t end = first; end <= n; ++end) {
        const Seconds rest = pass.best[at(stage + 1, end)], at_least = least(stage, first, end);
        if (rest == kNever || at_least == kNever || at_least > most || combine(at_least, rest) >= best) continue;
        const std::optional<Seconds> time = fitting(stage, first, end, most);
        if (!time || combine(*time, rest) >= best) continue;
        best = combine(*time, rest);
        pass.end[at(stage, first)] = end;
      }
    }
  }
  return pass;
}

// The longest stage first: of the stages behind a cut those with the smallest sum may be longer than needed, as long as
// they are no longer than the longest. So the sum takes a second pass.
std::vector<std::int64_t> LeastBottleneck::ends(const Fitting& fitting) const {
  const Seconds without = behind_[at(0, 0)];
  if (without == kNever) return {};
  const auto within = [&](Seconds limit) {
    return run(limit, fitting, [](Seconds a, Seconds b) { return std::max(a, b); }).best[at(0, 0)];
  };
  Seconds limit = kNever, bottleneck = kNever;
  for (const double over : kLimits) {
    limit = over * without;
    bottleneck = within(limit);
    if (bottleneck < kNever) break;
  }
  if (bottleneck == kNever) bottleneck = within(limit = kNever);
  if (bottleneck == kNever) return {};
  const auto sum = [](Seconds a, Seconds b) { return a + b; };
  Pass pass = run(bottleneck, fitting, sum);
  if (pass.best[at(0, 0)] == kNever) {
    // A way that fits is a little faster than the least, as where work that is done again fills a wait: the same limit
    // as before, so that the cut which has this bottleneck is among those that are looked at.
    const Fitting no_longer = [&](std::int64_t stage, std::int64_t first, std::int64_t end, Seconds most) {
      return fitting(stage, first, end, std::min(most, bottleneck));
    };
    pass = run(limit, no_longer, sum);
  }
  std::vector<std::int64_t> ends;
  for (std::int64_t stage = 0, first = 0; stage < num_stages_; ++stage) {
    first = pass.end[at(stage, first)];
    ends.push_back(first);
  }
  return ends;
}

}  // namespace orrery::planner
