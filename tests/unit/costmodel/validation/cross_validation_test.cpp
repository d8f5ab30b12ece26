// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/cross_validation.h"

#include "costmodel/validation/memory_score.h"
#include "tests/unit/program/reading.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

JudgedRun run_of(std::int64_t hidden, double allocated_gib, std::optional<double> over_allocated) {
  JudgedRun run;
  run.id = "a run";
  run.framework = "made up";
  run.hidden = hidden;
  run.out_of_memory = !over_allocated;
  run.allocated = gib(allocated_gib);
  run.fragmentation = 0.15;
  run.reserve = gib(2);
  run.device_memory = gib(80);
  run.over_allocated = over_allocated;
  return run;
}

/// Two widths whose fragmentation differs: 0.3 and 0.05. 78 GiB are free of each device.
std::vector<JudgedRun> two_widths() {
  return {run_of(1024, 40, 1.3),          run_of(1024, 50, 1.3),  run_of(1024, 50, 1.4),
          run_of(1024, 65, std::nullopt), run_of(4096, 70, 1.05), run_of(4096, 72, std::nullopt)};
}

TEST(CrossValidation, FitsOnTheRunsOfOtherWidthsThatRan) {
  const std::vector<CrossValidation> all = cross_validate(two_widths());
  ASSERT_EQ(all.size(), 1u);
  ASSERT_EQ(all[0].folds.size(), 2u);
  const Fold &narrow = all[0].folds[0], &wide = all[0].folds[1];
  EXPECT_EQ(narrow.hidden, 1024);
  EXPECT_EQ(narrow.num_fitted_on, 1u);
  EXPECT_NEAR(*narrow.fragmentation, 0.05, 1e-12);
  EXPECT_EQ(wide.num_fitted_on, 3u);
  EXPECT_NEAR(*wide.fragmentation, 0.3, 1e-12);  // the median
  EXPECT_EQ(wide.of_preset, 0.15);
  EXPECT_NEAR(all[0].fitted_range()->first, 0.05, 1e-12);
  EXPECT_NEAR(all[0].fitted_range()->second, 0.3, 1e-12);
}

TEST(CrossValidation, JudgesTheHeldOutWidthWithTheFitAndWithThePreset) {
  const CrossValidation both = cross_validate(two_widths()).front();
  const Fold &narrow = both.folds[0], &wide = both.folds[1];
  // 65 GiB need 68.3 with 0.05 and 74.8 with 0.15: both say it fits, and it failed.
  EXPECT_EQ(narrow.cross_judged.recall(), 0.0);
  EXPECT_EQ(narrow.preset.recall(), 0.0);
  EXPECT_FALSE(narrow.cross_judged.precision().has_value());
  // 70 GiB need 91 with 0.3 and 80.5 with 0.15: both say that it does not fit, and it ran.
  EXPECT_EQ(wide.cross_judged.precision(), 0.5);
  EXPECT_EQ(wide.preset.precision(), 0.5);
  EXPECT_EQ(wide.cross_judged.recall(), 1.0);
  EXPECT_EQ(both.cross_judged.num_ran, 4u);
  EXPECT_EQ(both.cross_judged.num_failed, 2u);
  EXPECT_EQ(both.cross_judged.precision(), 0.5);
  EXPECT_EQ(both.cross_judged.recall(), 0.5);
  EXPECT_EQ(both.preset.recall(), 0.5);
}

TEST(CrossValidation, IsNotToldWhichRunsFailed) {
  std::vector<JudgedRun> runs = two_widths();
  const CrossValidation before = cross_validate(runs).front();
  for (JudgedRun& run : runs) {
    if (run.out_of_memory) run.allocated = gib(1);
  }
  const CrossValidation after = cross_validate(runs).front();
  for (std::size_t i = 0; i < before.folds.size(); ++i) {
    EXPECT_EQ(before.folds[i].fragmentation, after.folds[i].fragmentation) << i;
    EXPECT_EQ(before.folds[i].num_fitted_on, after.folds[i].num_fitted_on) << i;
  }
}

TEST(CrossValidation, AFoldIsBlindToItsOwnWidth) {
  std::vector<JudgedRun> runs = two_widths();
  for (JudgedRun& run : runs) {
    if (run.hidden == 4096 && run.over_allocated) run.over_allocated = 9.0;
  }
  const CrossValidation both = cross_validate(runs).front();
  EXPECT_NEAR(*both.folds[1].fragmentation, 0.3, 1e-12);
  EXPECT_NEAR(*both.folds[0].fragmentation, 8.0, 1e-12);
}

TEST(CrossValidation, CountsNothingWhereThereIsNothingToFitOn) {
  const CrossValidation one = cross_validate({run_of(1024, 40, 1.1), run_of(1024, 90, std::nullopt)}).front();
  ASSERT_EQ(one.folds.size(), 1u);
  EXPECT_FALSE(one.folds[0].fragmentation.has_value());
  EXPECT_EQ(one.folds[0].num_fitted_on, 0u);
  EXPECT_EQ(one.folds[0].preset.num_failed, 1u);
  EXPECT_EQ(one.folds[0].cross_judged.num_failed, 0u);
  EXPECT_EQ(one.preset.num_failed, 0u);  // the sums are of the same runs
  EXPECT_FALSE(one.fitted_range().has_value());
}

TEST(CrossValidation, LeavesOutFrameworksOfWhichNoRunFailed) {
  std::vector<JudgedRun> runs = two_widths();
  runs.push_back(run_of(1024, 40, 1.9));
  runs.back().framework = "another";
  const std::vector<CrossValidation> all = cross_validate(runs);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].framework, "made up");
  EXPECT_NEAR(*all[0].folds[1].fragmentation, 0.3, 1e-12);
  EXPECT_TRUE(cross_validate({runs.back()}).empty());
}

/// tests/data/runs/made-up.json: two widths, each with two runs that ran and one that failed; reserved memory of the
/// narrow one is 1.1 and 1.3 times, of the wide one 1.2 and 1.4 times what the first stage is predicted to allocate.
TEST(CrossValidation, ReadsItsRatiosFromARunsFile) {
  const RunsFile file = read_runs(testing::repository_path("tests/data/runs/made-up.json"));
  Device device;
  device.name = "a device";
  device.memory = gib(79.19);
  const MemoryScore score = score_memory(file, [&](const std::string&) { return std::optional(device); });
  ASSERT_EQ(score.judged.size(), 6u);
  const CrossValidation nanotron = cross_validate(score.judged).front();
  EXPECT_EQ(nanotron.framework, "nanotron");
  ASSERT_EQ(nanotron.folds.size(), 2u);
  EXPECT_EQ(nanotron.folds[0].num_fitted_on, 2u);
  EXPECT_NEAR(*nanotron.folds[0].fragmentation, 0.3, 0.001);
  EXPECT_NEAR(*nanotron.folds[1].fragmentation, 0.2, 0.001);
  EXPECT_EQ(nanotron.cross_judged.num_ran, 4u);
  EXPECT_EQ(nanotron.cross_judged.num_failed, 2u);
}

}  // namespace
}  // namespace orrery::costmodel
