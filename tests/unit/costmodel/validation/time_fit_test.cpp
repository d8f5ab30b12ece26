// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_fit.h"

#include "base/errors.h"
#include "tests/unit/costmodel/validation/planted_runs.h"
#include "tests/unit/program/reading.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using testing::PlantedRuns;

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

TEST_F(PlantedRuns, MoveProductsLessWhereTheBoardsOwnWereMeasured) {
  KnownDevice known(read_calibration(orrery::testing::repository_path("catalog/calibration/tables/b200.json")),
                    *testing::device_of_catalog("b200"));
  ASSERT_FALSE(known.has_unknown_kernels);
  const DeviceOfRun of_run = [&](const TimedRun&) -> const KnownDevice& { return known; };
  const auto matmul = [&] {
    return fit_times(runs_, of_run).factors.of.at("family blackwell")[static_cast<std::size_t>(Knob::matmul)];
  };
  const double measured = matmul();
  known.has_unknown_kernels = true;
  const double guessed = matmul();
  EXPECT_LT(std::abs(measured), 0.8 * std::abs(guessed));
  EXPECT_LT(guessed, 0.0);
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

}  // namespace
}  // namespace orrery::costmodel
