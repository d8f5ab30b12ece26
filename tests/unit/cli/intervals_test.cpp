// SPDX-License-Identifier: Apache-2.0
#include "cli/intervals.h"

#include "base/errors.h"
#include "base/files.h"
#include "cli/prediction.h"
#include "tests/conformance/programs.h"
#include "tests/unit/base/test_folder.h"
#include "tests/unit/program/small_models.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

/// `small_moe` on one node of two devices of this kind.
Plan plan_on(DeviceKind kind) {
  Plan plan;
  plan.model = testing::small_moe();
  plan.cluster = testing::small_cluster(1, 2);
  plan.cluster.groups.front().device.kind = kind;
  plan.batch = {.seq = 64, .global_batch = 8};
  plan.strategy.stages = even_stages(plan.model.num_layers(), 1, false, false);
  return plan;
}

class MemoryInterval : public ::testing::Test {
 protected:
  MemoryInterval() { std::filesystem::create_directories(catalog_ / "calibration" / "factors"); }
  void ship(const std::string& text) const {
    write_file_atomically((catalog_ / "calibration" / "factors" / "memory.json").string(), text);
  }
  Report of(DeviceKind kind, const std::string& framework = "") const {
    Plan plan = plan_on(kind);
    plan.framework = framework;
    Report report;
    add_memory_interval(report, plan, gib(12), catalog_);
    return report;
  }

  const orrery::testing::TestFolder folder_;
  const std::filesystem::path& catalog_ = folder_.path();
};

constexpr const char* kShipped = R"({"schema": "memory_intervals/1", "source": "a test",
  "intervals": {"any": {"reserved": {"low": 0.9, "high": 1.5, "runs": 10}},
                "megatron": {"mem_alloc_gib": {"low": 0.99, "high": 1.01, "runs": 30}},
                "nanotron": {"mem_reserved_gb": {"low": 0.8, "high": 1.25, "runs": 300}},
                "torchtitan": {"mem_gib": {"low": 1, "high": 1.1, "runs": 9}}}})";

TEST_F(MemoryInterval, WidensWhatIsReservedAndNotWhatTheProcessTakesBeside) {
  ship(kShipped);
  const std::string text = of(DeviceKind::cuda).text();
  EXPECT_THAT(text, ContainsRegex("memory, 80 % from +11.0 GiB"));  // 2 + 10 x 0.9
  EXPECT_THAT(text, ContainsRegex("memory, 80 % to +17.0 GiB"));
  EXPECT_THAT(text, HasSubstr("80 % of 10 published runs of several frameworks reserved 0.9 to 1.5 times what is"));
  EXPECT_THAT(of(DeviceKind::cuda).json(), HasSubstr("\"peak_memory_high\": \"17 GiB\""));
  EXPECT_THAT(of(DeviceKind::hip).json(), HasSubstr("\"peak_memory_high\": \"17 GiB\""));
}

// Of Megatron what is allocated is known, and what its allocator adds: 1.028 to 1.093 of it, where 1.04 is predicted.
TEST_F(MemoryInterval, IsOfTheFrameworkThatThePlanNamesWhereEnoughOfItsRunsAreKnown) {
  ship(kShipped);
  EXPECT_THAT(of(DeviceKind::cuda, "megatron").text(), ContainsRegex("memory, 80 % from +11.8 GiB"));
  EXPECT_THAT(of(DeviceKind::cuda, "megatron").text(), ContainsRegex("memory, 80 % to +12.6 GiB"));  // 2 + 10 x 1.0615
  EXPECT_THAT(of(DeviceKind::cuda, "megatron").text(), HasSubstr("as megatron takes it, of which 30 published runs"));
  EXPECT_EQ(of(DeviceKind::cuda, "megatron-bridge").json().find("null"), std::string::npos);  // the same training loop
  EXPECT_THAT(of(DeviceKind::cuda, "nanotron").text(), ContainsRegex("memory, 80 % to +14.4 GiB"));  // 2.2 + 9.8 x 1.25
  EXPECT_THAT(of(DeviceKind::cuda, "torchtitan").text(), ContainsRegex("memory, 80 % to +no errors are known"));
}

TEST_F(MemoryInterval, IsUnknownWithoutErrors) {
  EXPECT_THAT(of(DeviceKind::cuda).text(), ContainsRegex("memory, 80 % from +no errors are known"));
  EXPECT_THAT(of(DeviceKind::cuda).json(), HasSubstr("\"peak_memory_low\": null"));
  ship("{}");
  EXPECT_THROW(of(DeviceKind::cuda), ConfigError);
}

TEST_F(MemoryInterval, GoesIntoThePlanBesideThatOfItsTime) {
  ship(kShipped);
  Plan plan = plan_on(DeviceKind::cuda);
  plan.predictions = {{.tier = "closed", .step_time = seconds(4), .peak_memory = gib(12)},
                      {.tier = "analytic", .step_time = seconds(2), .peak_memory = gib(12)}};
  costmodel::Calibration calibration;
  set_intervals(plan, {}, calibration, catalog_);
  EXPECT_FALSE(plan.predictions[0].step_time_80);  // the calibration knows no errors
  EXPECT_FALSE(plan.predictions[1].step_time_80);
  calibration.interval = {.low = 0.5, .high = 1.5, .num_runs = 10};
  set_intervals(plan, {}, calibration, catalog_);
  const Prediction &closed = plan.predictions[0], &analytic = plan.predictions[1];
  EXPECT_EQ(analytic.step_time_80->low, seconds(1));
  EXPECT_EQ(analytic.step_time_80->high, seconds(3));
  EXPECT_EQ(closed.step_time_80->low, seconds(1));  // the same step, and what the closed form says of it
  EXPECT_EQ(closed.step_time_80->high, seconds(4));
  for (const Prediction& prediction : plan.predictions) {
    EXPECT_NEAR(prediction.peak_memory_80->low.in(unit::gibibyte), 11.0, 1e-12);
    EXPECT_NEAR(prediction.peak_memory_80->high.in(unit::gibibyte), 17.0, 1e-12);
  }
  set_intervals(plan, {"moe.fc1"}, calibration, catalog_);
  EXPECT_NEAR(plan.predictions[1].step_time_80->high.in(unit::second), 4.5, 1e-12);
}

TEST_F(MemoryInterval, OfTablesStandsBesideTheirRowsForMachines) {
  ship(kShipped);
  const Plan plan = plan_on(DeviceKind::cuda);
  const Intervals intervals(plan, catalog_);
  Table table{.columns = {{"memory", "memory"}}, .rows = {{gib(12)}, {Value::unknown("-")}}};
  add_interval_columns<Bytes>(table, "memory", {intervals.of_memory(gib(12), plan.strategy), std::nullopt});
  Report report;
  report.table("rows", "Rows", std::move(table));
  EXPECT_EQ(report.text().find("17"), std::string::npos);
  EXPECT_THAT(report.json(), HasSubstr("\"memory_low\": \"11 GiB\""));
  EXPECT_THAT(report.json(), HasSubstr("\"memory_high\": \"17 GiB\""));
  EXPECT_THAT(report.json(), HasSubstr("\"memory_high\": null"));
  EXPECT_FALSE(intervals.of_step(seconds(1), {}));  // without a calibration
}

// A rank's arena takes what is counted, to the byte; of what is counted only a message that comes early may be missing.
TEST_F(MemoryInterval, OfCpuRanksIsWhatIsCountedLessMessagesOnTheirWay) {
  Plan plan = plan_on(DeviceKind::cpu);
  const auto interval = [&] { return *Intervals(plan, catalog_).of_memory(gib(12), plan.strategy); };
  EXPECT_EQ(interval().low, gib(12));
  EXPECT_EQ(interval().high, gib(12));
  plan.strategy.pp = 2;
  plan.strategy.stages = even_stages(plan.model.num_layers(), 2, false, false);
  const auto ranks = memory_of(plan);
  const auto fullest =
      std::max_element(ranks.begin(), ranks.end(), [](const auto& a, const auto& b) { return a.total() < b.total(); });
  ASSERT_GT(fullest->communication, Bytes());
  EXPECT_EQ(interval().low, gib(12) - fullest->communication);
  EXPECT_EQ(interval().high, gib(12));
}

// What ships says how much is known: no point of MI300X or GB200 stands in the catalog, 1217 of H800 do; of GB200 runs
// were among the errors of Megatron-Bridge's intervals, of MI250X none anywhere.
TEST(TimeInterval, IsWiderForDevicesOfWhichTheCatalogHasNeitherPointsNorRuns) {
  const std::filesystem::path folder = ORRERY_SOURCE_DIR "/catalog/calibration";
  const auto widening = [&](const std::string& device, const std::vector<std::string>& extrapolated, bool is_moe) {
    const auto calibration = costmodel::read_calibration(folder / (device + ".json"));
    Plan plan;
    plan.cluster.groups.emplace_back();
    if (is_moe) plan.model.moe.emplace();
    plan.predictions = {{.tier = "analytic", .step_time = seconds(1)}};
    set_intervals(plan, extrapolated, calibration, ORRERY_SOURCE_DIR "/catalog");
    const costmodel::Interval& interval = is_moe ? *calibration.interval_moe : *calibration.interval;
    return std::log(plan.predictions[0].step_time_80->high.in(unit::second)) / std::log(interval.high);
  };
  for (const bool is_moe : {false, true}) {
    for (const char* measured : {"a100", "a100-40gb", "b200", "h100", "h100-96gb", "h200", "h200-nvl", "h800"}) {
      EXPECT_NEAR(widening(measured, {"attn.core", "moe.fc1", "attn.norm", "dp.grad_rs"}, is_moe), 1.0, 1e-9)
          << measured;
    }
    EXPECT_NEAR(widening("mi250x", {"attn.core"}, is_moe), 2.0, 1e-9);
    EXPECT_NEAR(widening("mi250x", {"dp.grad_rs"}, is_moe), 1.0, 1e-9);  // networks are in the errors already
  }
  for (const char* trained : {"b300", "gb200", "gb300", "mi355x"}) {
    EXPECT_NEAR(widening(trained, {"attn.core", "attn.norm", "moe.fc1"}, true), 1.0, 1e-9) << trained;
  }
  for (const char* trained : {"gb200", "gb300"}) {
    EXPECT_NEAR(widening(trained, {"attn.core"}, false), 1.0, 1e-9) << trained;
  }
  for (const char* adapters_alone : {"mi300x", "mi325x", "mi350x", "mi355x"}) {
    EXPECT_NEAR(widening(adapters_alone, {"attn.core"}, false), 2.0, 1e-9) << adapters_alone;
  }
  EXPECT_NEAR(widening("b300", {"attn.core"}, false), 2.0, 1e-9);  // Megatron-Bridge trained MoE models alone there
  for (const char* dense_alone : {"mi300x", "mi325x", "mi350x"}) {
    EXPECT_NEAR(widening(dense_alone, {"attn.core"}, true), 2.0, 1e-9) << dense_alone;
  }
}

}  // namespace
}  // namespace orrery::cli
