// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_score.h"

#include "tests/unit/costmodel/validation/planted_runs.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

class ScoredRuns : public testing::PlantedRuns {
 protected:
  TimedRuns timed() const {
    TimedRuns out;
    out.runs = runs_;
    out.zero_fit = predict_all(runs_, base_of_, {});
    return out;
  }
};

/// Each device with its table, as far as there is one.
const KnownDevice* find_device(const std::string& name) {
  static std::map<std::string, KnownDevice> known;
  if (name == "l40s") return nullptr;
  return &known.try_emplace(name, testing::table_of(name), *testing::device_of_catalog(name)).first->second;
}

// A fit says how far it is from its own runs and from those held out, for each device and framework.
TEST_F(ScoredRuns, LeaveResidualsInTheirFit) {
  const TimedRuns timed = this->timed();
  const TimeScore score = score_time(timed, base_of_, {}, true, "planted");
  ASSERT_TRUE(score.fitted);
  ASSERT_EQ(score.fitted->residuals.size(), 1u);
  const auto& [name, residuals] = *score.fitted->residuals.begin();
  EXPECT_EQ(name, "b200 megatron");
  ASSERT_EQ(residuals.size(), 1u);
  EXPECT_EQ(residuals[0].num_runs, std::ssize(runs_));
  EXPECT_EQ(residuals[0].group, score.strata[0].stratum.group);
  EXPECT_EQ(residuals[0].held_out.mean, score.strata[0].cross_validated->mean);
  EXPECT_EQ(residuals[0].held_out.bias, score.strata[0].cross_validated->bias);
  const std::vector<Seconds> own = predict_all(runs_, base_of_, *score.fitted);
  std::vector<const TimedRun*> all;
  for (const TimedRun& run : timed.runs) all.push_back(&run);
  EXPECT_EQ(residuals[0].fitted.mean, errors_of(all, own, 0).mean);
  EXPECT_EQ(residuals[0].fitted.median, errors_of(all, own, 0).median);
}

TEST(ErrorsOf, AveragesAndCountsRefusedRunsAsAHundredPercent) {
  PublishedRun a, b;
  a.id = "a";
  b.id = "b";
  TimedRun first, second;
  first.run = &a;
  second.run = &b;
  first.measured = second.measured = 2.0 * unit::second;
  const TimedRun* runs[] = {&first, &second};
  const Seconds predicted[] = {2.2 * unit::second, 1.4 * unit::second};
  const TimeErrors errors = errors_of(runs, predicted, 2);
  EXPECT_NEAR(errors.mean, 0.2, 1e-12);
  EXPECT_NEAR(errors.bias, -0.1, 1e-12);
  EXPECT_NEAR(errors.mean_with_refused, (0.1 + 0.3 + 2.0) / 4.0, 1e-12);
  EXPECT_EQ(errors.worst_run, "b");
  EXPECT_NEAR(errors.worst, -0.3, 1e-12);
}

TEST(TimedRuns, RefuseADeviceWithoutATableAndARowWithoutANumber) {
  RunsFile file = testing::published({"simumax-70c6e4a0", "nanotron_h100_bench-0"});
  file.runs[0].gpu = "L40S";
  file.broken.push_back({.id = "b", .group = "nanotron_h100_bench", .gpu = "H100-SXM-80GB", .reason = "seq is NaN"});
  file.broken.push_back({.id = "oom", .group = "nanotron_h100_oom", .out_of_memory = true, .reason = "seq is NaN"});
  const TimedRuns timed = timed_runs(file, testing::device_of_catalog, find_device);
  ASSERT_EQ(timed.runs.size(), 1u);
  EXPECT_EQ(timed.runs[0].run->id, "nanotron_h100_bench-0");
  const std::map<std::string, std::vector<std::string>> expected = {{"no calibration of L40S", {"simumax-70c6e4a0"}},
                                                                    {"seq is NaN", {"b"}}};
  EXPECT_EQ(timed.reasons, expected);
  EXPECT_EQ(timed.refused.at(stratum_of(file.runs[0])), 1u);
}

// A prediction that lacks a rate does not end the validation of all others.
TEST(TimedRuns, RefuseARunThatNeedsARateWhichItsDeviceHasNot) {
  RunsFile file = testing::published({"simumax-70c6e4a0", "nanotron_h100_bench-0"});
  file.runs[0].gpu = "A100-SXM-80GB";
  file.runs[0].precision = "fp8";
  const TimedRuns timed = timed_runs(file, testing::device_of_catalog, find_device);
  ASSERT_EQ(timed.runs.size(), 1u);
  EXPECT_EQ(timed.runs[0].run->id, "nanotron_h100_bench-0");
  ASSERT_EQ(timed.reasons.size(), 1u);
  EXPECT_THAT(timed.reasons.begin()->first, ::testing::HasSubstr("the fp8 peak rate of device"));
  EXPECT_EQ(timed.refused.at(stratum_of(file.runs[0])), 1u);
}

TEST(ScoreTime, CountsWhatItCannotModel) {
  RunsFile file = testing::published({"simumax-70c6e4a0", "nanotron_h100_bench-0"});
  file.runs[1].gpu = "Z1000";
  const TimedRuns timed = timed_runs(file, testing::device_of_catalog, find_device);
  EXPECT_EQ(timed.runs.size(), 1u);
  ASSERT_EQ(timed.reasons.size(), 1u);
  EXPECT_EQ(timed.reasons.begin()->second, std::vector<std::string>{"nanotron_h100_bench-0"});
  const KnownDevice table(testing::table_of("b200"), *testing::device_of_catalog("b200"));
  const TimeScore score =
      score_time(timed, [&](const TimedRun&) -> const KnownDevice& { return table; }, {}, false, "");
  ASSERT_EQ(score.strata.size(), 2u);
  EXPECT_EQ(score.strata[0].num_refused + score.strata[1].num_refused, 1u);
  EXPECT_FALSE(score.strata[0].cross_validated);
}

// Four cells of two runs: an interval is made of the six errors of the other cells, of which it holds all and the
// prediction itself. What is printed of it follows by hand.
TEST_F(ScoredRuns, AreHeldAgainstTheIntervalsOfOtherCells) {
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    runs_[i].measured = (i % 2 == 0 ? 0.9 : 1.0 + 0.1 * static_cast<double>(i)) * runs_[i].measured;
  }
  const TimedRuns all = timed();
  const TimeScore score = score_time(all, base_of_, {}, true, "planted");
  ASSERT_EQ(score.cross_validated.size(), runs_.size());
  std::vector<double> logs, half_widths, errors;
  for (std::size_t i = 0; i < runs_.size(); ++i) logs.push_back(std::log(runs_[i].measured / score.cross_validated[i]));
  double inside = 0.0, sum = 0.0;
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    double low = 0.0, high = 0.0;
    for (std::size_t j = 0; j < runs_.size(); ++j) {
      if (i / 2 == j / 2) continue;
      low = std::min(low, logs[j]);
      high = std::max(high, logs[j]);
    }
    inside += logs[i] >= low && logs[i] <= high ? 1.0 : 0.0;
    half_widths.push_back((std::exp(high) - std::exp(low)) / 2.0);
    errors.push_back(std::abs(score.cross_validated[i] / runs_[i].measured - 1.0));
    sum += high - low + 10.0 * (std::max(0.0, low - logs[i]) + std::max(0.0, logs[i] - high));
  }
  const auto middle = [](std::vector<double> x) {
    std::sort(x.begin(), x.end());
    return (x[3] + x[4]) / 2.0;
  };
  ASSERT_EQ(score.strata.size(), 1u);
  EXPECT_LT(inside, 8.0);  // the planted outlier is not in the others' interval
  EXPECT_DOUBLE_EQ(*score.strata[0].coverage, inside / 8.0);
  EXPECT_NEAR(*score.strata[0].width_over_error, middle(half_widths) / middle(errors), 1e-9);
  EXPECT_NEAR(*score.interval_score, sum / 8.0, 1e-9);
  // With so few runs the one interval of all other cells is the same one. The one that saw all errors leaves none out.
  EXPECT_NEAR(*score.constant_score, sum / 8.0, 1e-9);
  const auto [least, most] = std::minmax_element(logs.begin(), logs.end());
  EXPECT_NEAR(*score.constant_score_in_sample, std::max(*most, 0.0) - std::min(*least, 0.0), 1e-9);
  EXPECT_LT(*score.constant_score_in_sample, *score.constant_score);
}

// Predictions from tables alone have an interval, too: with the planted factor all runs take longer than they say.
TEST_F(ScoredRuns, LeaveAnIntervalOfPredictionsWithoutAFit) {
  const TimedRuns all = timed();
  const TimeScore score = score_time(all, base_of_, {}, true, "planted");
  const Interval& interval = score.fitted->interval.at(kZeroFit);
  double slowest = 0.0;
  for (std::size_t i = 0; i < runs_.size(); ++i) slowest = std::max(slowest, runs_[i].measured / all.zero_fit[i]);
  EXPECT_EQ(interval.num_runs, std::ssize(runs_));
  EXPECT_DOUBLE_EQ(interval.low, 1.0);
  EXPECT_NEAR(interval.high, slowest, 1e-9);  // of eight runs the highest tenth is the slowest one
  EXPECT_GT(interval.high, 1.15);
}

// One cell alone is not said to be covered by nothing.
TEST_F(ScoredRuns, OfOneCellHaveNoCoverage) {
  runs_.resize(1);
  const TimeScore score = score_time(timed(), base_of_, {}, true, "planted");
  ASSERT_EQ(score.strata.size(), 1u);
  EXPECT_TRUE(score.strata[0].cross_validated);
  EXPECT_FALSE(score.strata[0].coverage || score.strata[0].width_over_error);
  EXPECT_FALSE(score.interval_score || score.constant_score);
}

/// Plans of one model, machine and batch that differ in their micro-batches alone, the faster ones predicted first.
class Families : public ScoredRuns {
 protected:
  Families() {
    RunsFile row = testing::published({"simumax-70c6e4a0"});
    family_.models = row.models;
    for (const std::int64_t micro_batch : {4, 2, 1}) {
      PublishedRun run = row.runs[0];
      run.id = "micro-batch " + std::to_string(micro_batch);
      run.micro_batch = micro_batch;
      family_.runs.push_back(run);
    }
    runs_.clear();
    for (const PublishedRun& run : family_.runs) {
      runs_.push_back(std::get<TimedRun>(timed_run(family_, run, testing::device_of_catalog)));
    }
    const std::vector<Seconds> predicted = predict_all(runs_, base_of_, {});
    for (std::size_t i = 0; i < runs_.size(); ++i) runs_[i].measured = predicted[i];
  }
  RunsFile family_;
};

TEST_F(Families, AreScoredByTheOrderOfTheirPlans) {
  TimedRuns all = timed();
  ASSERT_NE(runs_[0].measured, runs_[1].measured);
  ASSERT_NE(runs_[1].measured, runs_[2].measured);
  ASSERT_NE(runs_[0].measured, runs_[2].measured);
  for (std::size_t i = 0; i < runs_.size(); ++i) all.zero_fit[i] = seconds(1.0) / (runs_[i].measured / seconds(1.0));
  const TimeScore score = score_time(all, base_of_, {}, true, "planted");
  ASSERT_EQ(score.families.size(), 1u);
  const FamilyScore& family = score.families[0];
  EXPECT_EQ(family.group, "simumax");
  EXPECT_EQ(family.cell, cell_of(runs_[0]));
  EXPECT_EQ(family.num_runs, 3u);
  EXPECT_EQ(family.num_gpus, 8);
  EXPECT_EQ(family.global_batch, family_.runs[0].global_batch);
  EXPECT_DOUBLE_EQ(family.shipped, 1.0);
  EXPECT_DOUBLE_EQ(family.zero_fit, -1.0);  // its order is the reverse
  EXPECT_TRUE(family.cross_validated);
  std::swap(all.runs[0].measured, all.runs[1].measured);
  EXPECT_NEAR(score_time(all, base_of_, {}, false, "").families[0].shipped, 1.0 / 3.0, 1e-12);
  for (TimedRun& run : all.runs) run.measured = seconds(1);  // equally fast: no order to find
  EXPECT_TRUE(score_time(all, base_of_, {}, false, "").families.empty());
  all.runs.pop_back();
  all.zero_fit.pop_back();
  EXPECT_TRUE(score_time(all, base_of_, {}, false, "").families.empty());  // two are too few
}

TEST(MeansOf, AreOverTheFamiliesOfAGroup) {
  const std::vector<GroupTau> means =
      means_of({{.group = "a", .num_runs = 3, .zero_fit = 1.0, .shipped = 0.5},
                {.group = "a", .num_runs = 4, .zero_fit = 0.0, .shipped = 1.0},
                {.group = "b", .num_runs = 5, .shipped = -1.0, .cross_validated = 0.2}});
  ASSERT_EQ(means.size(), 2u);
  EXPECT_EQ(means[0].num_families, 2u);
  EXPECT_EQ(means[0].num_runs, 7u);
  EXPECT_DOUBLE_EQ(means[0].zero_fit, 0.5);
  EXPECT_DOUBLE_EQ(means[0].shipped, 0.75);
  EXPECT_FALSE(means[0].cross_validated);
  EXPECT_DOUBLE_EQ(*means[1].cross_validated, 0.2);
}

}  // namespace
}  // namespace orrery::costmodel
