// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_fit.h"

#include "base/errors.h"
#include "costmodel/validation/time_score.h"
#include "tests/unit/costmodel/validation/published.h"

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// One small run in several models and batches, "measured" by the model itself with planted factors.
class PlantedRuns : public ::testing::Test {
 protected:
  PlantedRuns() {
    RunsFile row = testing::published({"simumax-70c6e4a0"});
    file_.models = row.models;
    for (const std::int64_t layers : {2, 3, 4, 6}) {
      for (const std::int64_t batches : {1, 4}) {
        PublishedRun run = row.runs[0];
        run.id = std::to_string(file_.runs.size());
        run.layers_override = layers;
        run.model_inline = row.model_of(row.runs[0]);
        run.global_batch *= batches;
        file_.runs.push_back(run);
      }
    }
    for (PublishedRun& run : file_.runs) {
      TimedRun timed = std::get<TimedRun>(timed_run(file_, run, testing::device_of_catalog));
      Knobs slow{};
      slow[static_cast<std::size_t>(Knob::matmul)] = std::log(kPlanted);
      timed.measured = predict(timed, base_, slow);
      runs_.push_back(std::move(timed));
    }
  }

  static constexpr double kPlanted = 0.7;
  RunsFile file_;
  KnownDevice base_{Calibration{}, *testing::device_of_catalog("b200")};
  std::vector<TimedRun> runs_;
  DeviceOfRun base_of_ = [this](const TimedRun&) -> const KnownDevice& { return base_; };
};

TEST_F(PlantedRuns, AreExplainedByFittedFactors) {
  const FittedTimes fit = fit_times(runs_, base_of_);
  const std::vector<Seconds> before = predict_all(runs_, base_of_, {}),
                             after = predict_all(runs_, base_of_, fit.factors);
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    EXPECT_GT(std::abs(before[i] / runs_[i].measured - 1.0), 0.15) << i;
    EXPECT_LT(std::abs(after[i] / runs_[i].measured - 1.0), 0.03) << i;
  }
  // The planted cause carries most of it.
  const Knobs knobs = fit.factors.knobs("b200", "megatron");
  EXPECT_LT(knobs[static_cast<std::size_t>(Knob::matmul)], 0.5 * std::log(kPlanted));
}

TEST_F(PlantedRuns, AreForecastFromTheOtherModels) {
  const FittedTimes fit = fit_times(runs_, base_of_);
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    EXPECT_LT(std::abs(fit.cross_validated[i] / runs_[i].measured - 1.0), 0.08) << i;
  }
}

TEST_F(PlantedRuns, DoNotInfluenceTheirOwnForecast) {
  const Seconds honest = fit_times(runs_, base_of_).cross_validated.front();
  // The first cell lies: two runs of one model take three times as long as they should.
  runs_[0].measured = 3.0 * runs_[0].measured;
  runs_[1].measured = 3.0 * runs_[1].measured;
  const Seconds again = fit_times(runs_, base_of_).cross_validated.front();
  EXPECT_NEAR(again / honest, 1.0, 0.05);
}

TEST_F(PlantedRuns, PassOnWhatAPredictionThrows) {
  runs_[3].cluster.groups[0].device.peak.clear();
  runs_[3].cluster.groups[0].device.memory_bandwidth.reset();
  EXPECT_THROW(predict_all(runs_, base_of_, {}), ConfigError);
}

TEST_F(PlantedRuns, AreCellsByModelAndGpu) {
  EXPECT_EQ(cell_of(runs_[0]), cell_of(runs_[1]));
  EXPECT_NE(cell_of(runs_[0]), cell_of(runs_[2]));
}

/// Each device with its table, as far as there is one.
const KnownDevice* find_device(const std::string& name) {
  static std::map<std::string, KnownDevice> known;
  if (name == "l40s") return nullptr;
  return &known.try_emplace(name, testing::table_of(name), *testing::device_of_catalog(name)).first->second;
}

// A fit says how far it is from its own runs and from those held out, for each device and framework.
TEST_F(PlantedRuns, LeaveResidualsInTheirFit) {
  TimedRuns timed;
  timed.runs = runs_;
  timed.zero_fit = predict_all(runs_, base_of_, {});
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

}  // namespace
}  // namespace orrery::costmodel
