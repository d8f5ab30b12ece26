// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_intervals.h"

#include <cmath>
#include <span>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// Errors -0.50, -0.49, ... 0.49 of one cell each.
std::vector<HeldOut> hundred() {
  std::vector<HeldOut> out;
  for (int i = 0; i < 100; ++i) {
    out.push_back({.group = "g", .framework = "f", .cell = std::to_string(i), .log_ratio = 0.01 * (i - 50)});
  }
  return out;
}

TEST(IntervalOf, LeavesATenthOnEachSide) {
  const Interval interval = interval_of(hundred());
  EXPECT_NEAR(std::log(interval.low), -0.41, 1e-12);  // the tenth of a hundred values
  EXPECT_NEAR(std::log(interval.high), 0.39, 1e-12);  // the ninetieth
  EXPECT_EQ(interval.num_runs, 100);
}

TEST(IntervalOf, HoldsThePredictionWhateverTheErrors) {
  const std::vector<HeldOut> slow = {{.group = "g", .framework = "f", .cell = "a", .log_ratio = 0.2},
                                     {.group = "g", .framework = "f", .cell = "b", .log_ratio = 0.3}};
  EXPECT_DOUBLE_EQ(interval_of(slow).low, 1.0);
  EXPECT_DOUBLE_EQ(interval_of(slow).high, std::exp(0.3));
}

TEST(IntervalOf, CountsRunsOfACellTogether) {
  // 99 runs of one cell weigh as the square root of their number: 9.9 against 2 single ones.
  std::vector<HeldOut> errors(99, {.group = "g", .framework = "f", .cell = "many", .log_ratio = 0.0});
  errors.push_back({.group = "g", .framework = "f", .cell = "a", .log_ratio = 1.0});
  errors.push_back({.group = "g", .framework = "f", .cell = "b", .log_ratio = 1.0});
  EXPECT_DOUBLE_EQ(interval_of(errors).high, std::exp(1.0));
}

TEST(IntervalOf, OfFewLeavesATenthOfThemAndTheNextOnEachSide) {
  EXPECT_NEAR(std::log(interval_of_few(hundred()).low), -0.41, 1e-12);
  EXPECT_NEAR(std::log(interval_of_few(hundred()).high), 0.40, 1e-12);
  const std::vector<HeldOut> errors = hundred();
  const std::span<const HeldOut> five(errors.data() + 48, 5);  // -0.02 to 0.02: too few to leave any out
  EXPECT_NEAR(std::log(interval_of_few(five).low), -0.02, 1e-12);
  EXPECT_NEAR(std::log(interval_of_few(five).high), 0.02, 1e-12);
}

TEST(IntervalOf, KeepsTheDevicesOfItsErrors) {
  std::vector<HeldOut> errors = hundred();
  EXPECT_TRUE(interval_of(errors).devices.empty());
  for (std::size_t i = 0; i < errors.size(); ++i) errors[i].device = i % 2 == 0 ? "h100" : "gb200";
  const Interval interval = interval_of(errors);
  EXPECT_EQ(interval.devices, (std::vector<std::string>{"gb200", "h100"}));
  EXPECT_TRUE(has_seen(interval, "gb200"));
  EXPECT_FALSE(has_seen(interval, "b300"));
}

// Runs on a device whose kernels nobody measured: the first cell there has a wider interval, which no run on the device
// is among the errors of; with a second cell either is told by the other.
TEST(IntervalsWithoutOwnCell, AreWiderOnDevicesThatNeitherPointsNorTheseErrorsKnow) {
  std::vector<HeldOut> errors = hundred();
  for (HeldOut& error : errors) error.device = "h100";
  const Interval known = intervals_without_own_cell(errors)[99];
  HeldOut run = errors.front();
  run.cell = "on gb200";
  run.device = "gb200";
  run.has_unknown_kernels = true;
  errors.push_back(run);
  const Interval first = intervals_without_own_cell(errors).back();
  EXPECT_NEAR(std::log(first.low), kUnknownWidth * -0.41, 1e-12);
  EXPECT_NEAR(std::log(first.high), kUnknownWidth * 0.39, 1e-12);
  EXPECT_NEAR(std::log(intervals_without_own_cell(errors)[99].high), std::log(known.high), 0.011);  // not of others
  run.cell = "of another model on gb200";
  errors.push_back(run);
  for (const std::size_t i : {100U, 101U}) {
    const Interval second = intervals_without_own_cell(errors)[i];
    EXPECT_EQ(second.devices, (std::vector<std::string>{"gb200", "h100"}));
    EXPECT_LT(std::log(second.high), 0.45) << i;
  }
  errors.back().device = errors[100].device = "h200";  // whose kernels are known needs no run
  errors.back().has_unknown_kernels = errors[100].has_unknown_kernels = false;
  EXPECT_LT(std::log(intervals_without_own_cell(errors).back().high), 0.45);
}

TEST(IntervalsWithoutOwnCell, NeverUseTheRunsOwnErrors) {
  std::vector<HeldOut> errors = hundred();
  errors.push_back({.group = "g", .framework = "f", .cell = "far", .log_ratio = 5.0});
  const std::vector<Interval> intervals = intervals_without_own_cell(errors);
  EXPECT_EQ(intervals.back().num_runs, 100);
  EXPECT_LT(intervals.back().high, std::exp(0.5));
}

TEST(IntervalsWithoutOwnCell, TakeTheGroupThenTheFrameworkThenAll) {
  std::vector<HeldOut> errors = hundred();
  errors.push_back({.group = "small", .framework = "f", .cell = "one", .log_ratio = 0.0});
  errors.push_back({.group = "lonely", .framework = "alone", .cell = "two", .log_ratio = 0.0});
  const std::vector<Interval> intervals = intervals_without_own_cell(errors);
  EXPECT_EQ(intervals.front().num_runs, 99);  // of the group, without itself
  EXPECT_EQ(intervals[100].num_runs, 100);    // of the framework
  EXPECT_EQ(intervals[101].num_runs, 101);    // of all
}

TEST(IntervalsWithoutOwnCell, TellMoeFromDenseWhereThereAreEnoughOfBoth) {
  std::vector<HeldOut> errors = hundred();
  for (int i = 0; i < 12; ++i) {
    errors.push_back(
        {.group = "g", .framework = "f", .cell = "moe" + std::to_string(i), .is_moe = true, .log_ratio = 1.0});
  }
  const std::vector<Interval> intervals = intervals_without_own_cell(errors);
  EXPECT_EQ(intervals.front().num_runs, 99);
  EXPECT_LT(intervals.front().high, std::exp(0.5));
  EXPECT_EQ(intervals.back().num_runs, 11);
  EXPECT_DOUBLE_EQ(intervals.back().high, std::exp(1.0));
  errors.resize(105);  // five of the kind are few: then all of the group
  EXPECT_EQ(intervals_without_own_cell(errors).back().num_runs, 104);
}

TEST(IntervalScore, IsTheWidthAndTenTimesWhatLiesOutside) {
  const std::vector<HeldOut> errors = {{.group = "g", .framework = "f", .cell = "a", .log_ratio = 0.05},
                                       {.group = "g", .framework = "f", .cell = "b", .log_ratio = 0.3}};
  const Interval interval{.low = std::exp(-0.1), .high = std::exp(0.1), .num_runs = 1};
  EXPECT_NEAR(*interval_score(errors, std::vector<Interval>(2, interval)), 0.2 + 0.5 * 10.0 * 0.2, 1e-12);
}

TEST(CoverageOf, IsTheShareInsideAndTheMedianHalfWidthOverTheMedianError) {
  std::vector<HeldOut> errors;
  for (const double ratio : {0.95, 1.05, 1.25, 2.0}) {
    errors.push_back({.group = "g", .framework = "f", .cell = "a", .log_ratio = std::log(ratio)});
  }
  const Interval narrow{.low = 0.9, .high = 1.1, .num_runs = 5}, wide{.low = 0.5, .high = 1.5, .num_runs = 5};
  const auto coverage = coverage_of(errors, std::vector<Interval>{narrow, narrow, wide, wide});
  ASSERT_TRUE(coverage);
  EXPECT_DOUBLE_EQ(coverage->share, 0.75);  // twice as long as predicted lies outside
  // Half-widths 0.1, 0.1, 0.5, 0.5; errors of the predictions 0.0526, 0.0476, 0.2, 0.5.
  EXPECT_NEAR(*coverage->width_over_error, 0.3 / (0.5 * (1.0 / 0.95 - 1.0 + 0.2)), 1e-12);
}

// One cell alone has no other to learn from: nothing is known, which is neither 0 % nor a width of nothing.
TEST(CoverageOf, IsUnknownWhereThereIsNoOtherCell) {
  const std::vector<HeldOut> alone(3, {.group = "g", .framework = "f", .cell = "a", .log_ratio = 0.1});
  EXPECT_FALSE(coverage_of(alone, intervals_without_own_cell(alone)));
  EXPECT_FALSE(interval_score(alone, intervals_without_own_cell(alone)));
  EXPECT_FALSE(interval_score(alone, one_interval_without_own_cell(alone)));
  // What is known of others is not diluted by it.
  std::vector<HeldOut> errors = alone;
  errors.push_back({.group = "g", .framework = "f", .cell = "b", .log_ratio = 0.1});
  const Interval holds_all{.low = 0.5, .high = 2.0, .num_runs = 1};
  EXPECT_DOUBLE_EQ(coverage_of(errors, std::vector<Interval>{{}, {}, {}, holds_all})->share, 1.0);
  EXPECT_NEAR(*interval_score(errors, std::vector<Interval>{{}, {}, {}, holds_all}), std::log(4.0), 1e-12);
}

TEST(OneIntervalWithoutOwnCell, IsOfAllOtherCells) {
  std::vector<HeldOut> errors = hundred();
  errors.push_back({.group = "other", .framework = "other", .cell = "far", .is_moe = true, .log_ratio = 5.0});
  const std::vector<Interval> intervals = one_interval_without_own_cell(errors);
  EXPECT_EQ(intervals.front().num_runs, 100);  // group, framework and kind do not matter
  EXPECT_EQ(intervals.back().num_runs, 100);
  EXPECT_LT(intervals.back().high, std::exp(0.5));  // it has not seen its own error
}

}  // namespace
}  // namespace orrery::costmodel
