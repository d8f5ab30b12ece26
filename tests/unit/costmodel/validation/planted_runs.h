// SPDX-License-Identifier: Apache-2.0
// Runs that the model itself "measured", so that a test knows what a fit and a score have to find.
#pragma once

#include "costmodel/validation/time_fit.h"
#include "tests/unit/costmodel/validation/published.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel::testing {

/// One small run in several models and batches, "measured" by the model itself with planted factors.
class PlantedRuns : public ::testing::Test {
 protected:
  PlantedRuns() {
    RunsFile row = published({"simumax-70c6e4a0"});
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
      TimedRun timed = std::get<TimedRun>(timed_run(file_, run, device_of_catalog));
      Knobs slow{};
      slow[static_cast<std::size_t>(Knob::matmul)] = std::log(kPlanted);
      timed.measured = predict(timed, base_, slow);
      runs_.push_back(std::move(timed));
    }
  }

  static constexpr double kPlanted = 0.7;
  RunsFile file_;
  KnownDevice base_{Calibration{}, *device_of_catalog("b200")};
  std::vector<TimedRun> runs_;
  DeviceOfRun base_of_ = [this](const TimedRun&) -> const KnownDevice& { return base_; };
};

}  // namespace orrery::costmodel::testing
