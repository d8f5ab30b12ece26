// SPDX-License-Identifier: Apache-2.0
#include "cli/intervals.h"

#include "base/errors.h"
#include "base/files.h"
#include "tests/unit/base/test_folder.h"

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

class MemoryInterval : public ::testing::Test {
 protected:
  MemoryInterval() { std::filesystem::create_directories(catalog_ / "calibration" / "factors"); }
  void ship(const std::string& text) const {
    write_file_atomically((catalog_ / "calibration" / "factors" / "memory.json").string(), text);
  }
  Report of(DeviceKind kind) const {
    Device device;
    device.kind = kind;
    Report report;
    add_memory_interval(report, gib(12), device, catalog_);
    return report;
  }

  const orrery::testing::TestFolder folder_;
  const std::filesystem::path& catalog_ = folder_.path();
};

constexpr const char* kShipped = R"({"schema": "memory_intervals/1", "source": "a test",
  "intervals": {"any": {"reserved": {"low": 0.9, "high": 1.5, "runs": 10}}}})";

TEST_F(MemoryInterval, WidensWhatIsReservedAndNotWhatTheProcessTakesBeside) {
  ship(kShipped);
  const std::string text = of(DeviceKind::cuda).text();
  EXPECT_THAT(text, ContainsRegex("memory, 80 % from +11.0 GiB"));  // 2 + 10 x 0.9
  EXPECT_THAT(text, ContainsRegex("memory, 80 % to +17.0 GiB"));
  EXPECT_THAT(text, HasSubstr("80 % of 10 published runs of several frameworks reserved 0.9 to 1.5 times what is"));
  EXPECT_THAT(of(DeviceKind::cuda).json(), HasSubstr("\"peak_memory_high\": \"17 GiB\""));
}

TEST_F(MemoryInterval, IsUnknownWithoutErrors) {
  EXPECT_THAT(of(DeviceKind::cuda).text(), ContainsRegex("memory, 80 % from +no errors are known"));
  EXPECT_THAT(of(DeviceKind::cuda).json(), HasSubstr("\"peak_memory_low\": null"));
  ship("{}");
  EXPECT_THROW(of(DeviceKind::cuda), ConfigError);
}

TEST_F(MemoryInterval, GoesIntoThePlanBesideThatOfItsTime) {
  ship(kShipped);
  Plan plan;
  plan.cluster.groups.emplace_back().device.kind = DeviceKind::cuda;
  plan.predictions = {{.tier = "closed", .step_time = seconds(3), .peak_memory = gib(12)},
                      {.tier = "analytic", .step_time = seconds(2), .peak_memory = gib(12)}};
  costmodel::Calibration calibration;
  set_intervals(plan, {}, calibration, catalog_);
  EXPECT_FALSE(plan.predictions[1].step_time_80);  // the calibration knows no errors
  calibration.interval = {.low = 0.5, .high = 1.5, .num_runs = 10};
  set_intervals(plan, {}, calibration, catalog_);
  const Prediction &closed = plan.predictions[0], &analytic = plan.predictions[1];
  EXPECT_FALSE(closed.step_time_80);
  EXPECT_EQ(analytic.step_time_80->low, seconds(1));
  EXPECT_EQ(analytic.step_time_80->high, seconds(3));
  for (const Prediction& prediction : plan.predictions) {
    EXPECT_NEAR(prediction.peak_memory_80->low.in(unit::gibibyte), 11.0, 1e-12);
    EXPECT_NEAR(prediction.peak_memory_80->high.in(unit::gibibyte), 17.0, 1e-12);
  }
  set_intervals(plan, {"moe.fc1"}, calibration, catalog_);
  EXPECT_NEAR(plan.predictions[1].step_time_80->high.in(unit::second), 4.5, 1e-12);
  plan.cluster.groups.front().device.kind = DeviceKind::cpu;
  set_intervals(plan, {}, calibration, catalog_);
  EXPECT_FALSE(plan.predictions[1].peak_memory_80);
}

// What ships says how much is known: no point of MI300X or GB200 stands in the catalog, 1217 of H800 do.
TEST(TimeInterval, IsWiderForDevicesOfWhichTheCatalogHasNoPoints) {
  const std::filesystem::path folder = ORRERY_SOURCE_DIR "/catalog/calibration";
  const auto widening = [&](const std::string& device, const std::vector<std::string>& extrapolated) {
    const auto calibration = costmodel::read_calibration(folder / (device + ".json"));
    Plan plan;
    plan.cluster.groups.emplace_back();
    plan.predictions = {{.tier = "analytic", .step_time = seconds(1)}};
    set_intervals(plan, extrapolated, calibration, ORRERY_SOURCE_DIR "/catalog");
    return std::log(plan.predictions[0].step_time_80->high.in(unit::second)) / std::log(calibration.interval->high);
  };
  for (const char* measured : {"a100", "a100-40gb", "b200", "h100", "h100-96gb", "h200", "h200-nvl", "h800"}) {
    EXPECT_NEAR(widening(measured, {"attn.core", "moe.fc1", "attn.norm", "dp.grad_rs"}), 1.0, 1e-9) << measured;
  }
  for (const char* unmeasured : {"b300", "gb200", "gb300", "mi250x", "mi300x", "mi325x", "mi350x", "mi355x"}) {
    EXPECT_NEAR(widening(unmeasured, {"attn.core"}), 2.0, 1e-9) << unmeasured;
    EXPECT_NEAR(widening(unmeasured, {"attn.norm"}), 2.0, 1e-9) << unmeasured;
    EXPECT_NEAR(widening(unmeasured, {"dp.grad_rs"}), 1.0, 1e-9) << unmeasured;  // networks are in the errors already
  }
}

TEST_F(MemoryInterval, IsNotThereForCpuRanksWhichTakeWhatIsPredicted) {
  ship(kShipped);
  EXPECT_EQ(of(DeviceKind::cpu).text(), "");
}

}  // namespace
}  // namespace orrery::cli
