// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/calibration_task.h"

#include "base/errors.h"
#include "tests/unit/executor/calibration/small_probe.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::small_probe;

TEST(CalibrationTask, AProbeComesBackAsItWasSent) {
  const CalibrationTask sent{
      .num_ranks = 2, .probe = small_probe(2, 1, 2, DType::bf16), .max_time = seconds(0.125), .gemm = "eigen"};
  const CalibrationTask received = read_calibration_task_text(to_json(sent), "task.json");
  EXPECT_EQ(received.num_ranks, 2);
  EXPECT_EQ(received.max_time, seconds(0.125));
  EXPECT_EQ(received.gemm, "eigen");
  ASSERT_TRUE(received.probe.has_value());
  EXPECT_EQ(received.probe->strategy, sent.probe->strategy);
  EXPECT_EQ(received.probe->batch, sent.probe->batch);
  EXPECT_EQ(received.probe->model.hidden, 32);
  EXPECT_EQ(received.probe->model.layers, sent.probe->model.layers);
  EXPECT_EQ(to_json(received), to_json(sent));
}

TEST(CalibrationTask, WithoutAProbeItIsAboutCollectives) {
  const CalibrationTask sent{.num_ranks = 4, .max_time = seconds(0.0)};
  const CalibrationTask received = read_calibration_task_text(to_json(sent), "task.json");
  EXPECT_FALSE(received.probe.has_value());
  EXPECT_EQ(received.num_ranks, 4);
  EXPECT_EQ(received.max_time, seconds(0.0));
}

TEST(CalibrationTask, AnotherFileIsRefused) {
  try {
    read_calibration_task_text(R"({"schema": "execution/1", "num_ranks": 1, "probe": null, "max_time": "1 s",
                                   "gemm": ""})",
                               "task.json");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "task.json:1: /schema: expected \"calibration_task/1\", got \"execution/1\"");
  }
}

}  // namespace
}  // namespace orrery::executor
