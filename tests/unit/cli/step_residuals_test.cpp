// SPDX-License-Identifier: Apache-2.0
#include "base/rng.h"
#include "cli/calibration.h"
#include "cli/intervals.h"
#include "tests/conformance/programs.h"
#include "tests/unit/executor/calibration/small_probe.h"

#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

constexpr std::size_t kNumProbes = 20, kNumSteps = 5;

/// A machine whose calibration has the form's numbers and no points: enough to predict.
MachineCalibration machine() {
  MachineCalibration out;
  out.cluster = testing::small_cluster(1, 2);
  Device& device = out.cluster.groups.front().device;
  device.peak[DType::f32] = 1e12 * unit::flop_per_second;
  device.memory_bandwidth = 1e12 * unit::byte_per_second;
  out.calibration.kernels.emplace().source = "a test";
  out.calibration.software = "a test";
  out.calibration.device = device;
  return out;
}

/// Twenty layouts of one small model, told apart by their batch.
std::vector<executor::Probe> probes() {
  std::vector<executor::Probe> out;
  for (std::size_t i = 0; i < kNumProbes; ++i) {
    out.push_back(executor::testing::small_probe(2));
    out.back().batch.global_batch *= static_cast<std::int64_t>(i + 1);
  }
  return out;
}

/// What `machine` takes that is 10 % slower than predicted, differs by 8 % from launch to launch and by 4 % from step
/// to step.
std::vector<StepMeasurement> measured(const std::vector<Seconds>& predicted, std::uint64_t seed) {
  const CounterRng launch(seed, 0), step(seed, 1);
  std::vector<StepMeasurement> out;
  for (std::size_t i = 0; i < predicted.size(); ++i) {
    out.push_back({.run = i, .times = {}});
    for (std::size_t k = 0; k < kNumSteps; ++k) {
      const double noise = 0.1 + 0.08 * launch.normal(i) + 0.04 * step.normal(i * kNumSteps + k);
      out.back().times.push_back(predicted[i] * std::exp(noise));
    }
  }
  return out;
}

std::vector<Seconds> predictions_of(const std::vector<executor::Probe>& probes) {
  MachineCalibration known = machine();
  std::vector<StepMeasurement> any;
  for (std::size_t i = 0; i < probes.size(); ++i) any.push_back({.run = i, .times = {seconds(1)}});
  add_step_residuals(known, probes, any);
  std::vector<Seconds> out;
  for (const costmodel::StepResidual& residual : known.calibration.step_residuals) out.push_back(residual.predicted);
  return out;
}

TEST(StepResiduals, KeepWhatWasMeasuredBesideWhatIsPredicted) {
  const std::vector<executor::Probe> all = probes();
  const std::vector<Seconds> predicted = predictions_of(all);
  ASSERT_EQ(predicted.size(), kNumProbes);
  EXPECT_GT(predicted.back(), predicted.front());  // of a larger batch
  MachineCalibration made = machine();
  add_step_residuals(made, all, {{.run = 3, .times = {predicted[3] * 1.25, predicted[3] * 0.5}}});
  ASSERT_EQ(made.calibration.step_residuals.size(), 1U);
  EXPECT_EQ(made.calibration.step_residuals[0].predicted, predicted[3]);
  EXPECT_NEAR(made.calibration.interval->low, 0.5, 1e-9);
  EXPECT_NEAR(made.calibration.interval->high, 1.25, 1e-9);
  EXPECT_EQ(made.calibration.interval->num_runs, 2);
  const std::string text = costmodel::to_json(made.calibration);
  EXPECT_EQ(costmodel::to_json(costmodel::read_calibration_text(text, "c.json")), text);
}

TEST(StepResiduals, GiveNoIntervalWhereNothingWasMeasured) {
  MachineCalibration made = machine();
  add_step_residuals(made, probes(), {});
  EXPECT_FALSE(made.calibration.interval);
}

// An interval of twenty runs of a noisy machine holds about four fifths of the steps that come later. Twenty runs tell
// its ends only roughly, so that many such calibrations are asked.
TEST(StepResiduals, MakeAnIntervalThatLaterStepsLieInAboutAsOftenAsItSays) {
  const std::vector<executor::Probe> all = probes();
  const std::vector<Seconds> predicted = predictions_of(all);
  double inside = 0.0, steps = 0.0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    MachineCalibration made = machine();
    add_step_residuals(made, all, measured(predicted, seed));
    Plan plan;
    plan.model = all.front().model;
    plan.cluster = made.cluster;
    const Intervals intervals(plan, made.calibration, {});
    for (const StepMeasurement& later : measured(predicted, 1000 + seed)) {
      const auto interval = *intervals.of_step(predicted[later.run], {});
      for (const Seconds time : later.times) {
        inside += time >= interval.low && time <= interval.high ? 1.0 : 0.0;
        steps += 1.0;
      }
    }
  }
  EXPECT_NEAR(inside / steps, 0.8, 0.05);
}

}  // namespace
}  // namespace orrery::cli
