// SPDX-License-Identifier: Apache-2.0
// Cuts by dynamic programming against all cuts, of stages that take random times and may not fit.
#include "planner/least_bottleneck.h"

#include "base/rng.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Seconds kNever = Seconds::from_si(std::numeric_limits<double>::infinity());

/// Stages of random layers, of which some run a random part again to fit and some do not fit at all.
struct RandomStages {
  explicit RandomStages(std::uint64_t index) : rng(17, index) {
    num_units = static_cast<std::int64_t>(1 + rng.below(0, 8));
    num_stages = static_cast<std::int64_t>(
        1 + rng.below(1, static_cast<std::uint64_t>(std::min<std::int64_t>(4, num_units + 2))));
  }

  Seconds least(std::int64_t stage, std::int64_t first, std::int64_t end) const {
    Seconds sum = stage == 0 ? seconds(1) : Seconds();
    if (stage + 1 == num_stages) sum += seconds(2);
    for (std::int64_t unit = first; unit < end; ++unit) {
      sum += seconds(static_cast<double>(1 + rng.below(static_cast<std::uint64_t>(10 + unit), 4)));
    }
    return sum;
  }
  std::optional<Seconds> fitting(std::int64_t stage, std::int64_t first, std::int64_t end) const {
    const auto draw = rng.below(static_cast<std::uint64_t>(100 + (stage * 10 + first) * 10 + end), 8);
    if (draw == 0) return std::nullopt;
    return least(stage, first, end) * (draw < 4 ? 1.0 : 1.0 + static_cast<double>(draw) / 8.0);
  }

  const CounterRng rng;
  std::int64_t num_units = 0, num_stages = 0;
};

std::vector<std::int64_t> cut(const RandomStages& stages) {
  const LeastBottleneck cuts(stages.num_units, stages.num_stages,
                             [&](auto stage, auto first, auto end) { return stages.least(stage, first, end); });
  return cuts.ends([&](auto stage, auto first, auto end, Seconds most) {
    const std::optional<Seconds> time = stages.fitting(stage, first, end);
    return time && *time <= most ? time : std::nullopt;
  });
}

/// The longest stage and the sum; infinite if some stage does not fit.
std::pair<Seconds, Seconds> times_of(const RandomStages& stages, const std::vector<std::int64_t>& ends) {
  std::pair<Seconds, Seconds> times;
  std::int64_t first = 0;
  for (std::size_t stage = 0; stage < ends.size(); ++stage) {
    const auto time = stages.fitting(static_cast<std::int64_t>(stage), first, ends[stage]);
    times.first = std::max(times.first, time.value_or(kNever));
    times.second += time.value_or(kNever);
    first = ends[stage];
  }
  return times;
}

TEST(LeastBottleneck, IsThatOfAllCuts) {
  std::int64_t num_cut = 0;
  for (std::uint64_t index = 0; index < 200; ++index) {
    const RandomStages stages(index);
    std::pair<Seconds, Seconds> best{kNever, kNever};
    std::vector<std::int64_t> ends;
    const std::function<void()> try_all = [&] {
      const std::int64_t first = ends.empty() ? 0 : ends.back();
      if (std::ssize(ends) + 1 == stages.num_stages) {
        ends.push_back(stages.num_units);
        best = std::min(best, times_of(stages, ends));
        ends.pop_back();
        return;
      }
      for (std::int64_t end = ends.empty() ? 0 : first + 1; end <= stages.num_units; ++end) {
        ends.push_back(end);
        try_all();
        ends.pop_back();
      }
    };
    try_all();
    const std::vector<std::int64_t> found = cut(stages);
    ASSERT_EQ(found.empty(), best.first == kNever) << index;
    if (found.empty()) continue;
    ++num_cut;
    EXPECT_EQ(found.back(), stages.num_units);
    EXPECT_EQ(times_of(stages, found).first, best.first) << index;
    EXPECT_NEAR(times_of(stages, found).second.in(unit::second), best.second.in(unit::second), 1e-9) << index;
    EXPECT_EQ(cut(stages), found);
  }
  EXPECT_GT(num_cut, 150);
}

// The first stages take what the longest does; the last ones then spare nothing by being shorter, but in sum.
TEST(LeastBottleneck, SparesWhatTheLongestStageDoesNotNeed) {
  const auto least = [](std::int64_t, std::int64_t first, std::int64_t end) {
    return seconds(static_cast<double>(end - first));
  };
  const LeastBottleneck cuts(6, 3, least);
  EXPECT_THAT(cuts.ends([&](auto stage, auto first, auto end, Seconds) { return least(stage, first, end); }),
              ElementsAre(2, 4, 6));
  // The last stage runs all again from its second unit on.
  const auto fitting = [&](std::int64_t stage, std::int64_t first, std::int64_t end, Seconds most) {
    const Seconds time = least(stage, first, end) * (stage == 2 && end - first > 1 ? 1.5 : 1.0);
    return time <= most ? std::optional(time) : std::nullopt;
  };
  EXPECT_THAT(cuts.ends(fitting), ElementsAre(2, 5, 6));
  // All stages are a little faster than the least.
  const auto faster = [&](std::int64_t stage, std::int64_t first, std::int64_t end, Seconds most) {
    const Seconds time = least(stage, first, end) * 0.999;
    return time <= most ? std::optional(time) : std::nullopt;
  };
  EXPECT_THAT(cuts.ends(faster), ElementsAre(2, 4, 6));
  const auto nothing = [](auto, auto, auto, Seconds) { return std::optional<Seconds>(); };
  EXPECT_THAT(cuts.ends(nothing), IsEmpty());
  EXPECT_THAT(LeastBottleneck(1, 4, least).ends(fitting), IsEmpty());  // two middle stages and one layer
}

}  // namespace
}  // namespace orrery::planner
