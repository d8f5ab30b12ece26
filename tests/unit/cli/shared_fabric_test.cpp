// SPDX-License-Identifier: Apache-2.0
#include "cli/shared_fabric.h"

#include "base/errors.h"
#include "tests/unit/base/test_folder.h"
#include "tests/unit/sim/worker_plan.h"

#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using orrery::testing::small_plan;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const InputOptions kInputs{.catalog = orrery::testing::kCatalog, .ignored_keys = {}};

/// A plan file of four ranks on H800.
std::string plan_file() {
  const std::string path = orrery::testing::own_path("plan.json");
  Plan plan = small_plan();
  plan.calibration_source.sha256 = load_calibration(kInputs, "h800", plan.cluster).source.sha256;
  std::ofstream(path) << to_json(plan);
  return path;
}

std::string refusal_of(const FabricOptions& options) {
  Plan plan = small_plan();
  try {
    place_jobs(options, kInputs, plan);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

std::vector<std::int32_t> devices_of(const Plan& plan) {
  std::vector<std::int32_t> devices;
  for (const DeviceIndex device : plan.device_of_rank) devices.push_back(device.value());
  return devices;
}

TEST(SharedFabric, WithoutOptionsAPlanStaysWhereItIs) {
  Plan plan = small_plan();
  EXPECT_TRUE(place_jobs({}, kInputs, plan).empty());
  EXPECT_EQ(plan.device_of_rank, small_plan().device_of_rank);
}

TEST(SharedFabric, RanksGoToTheNodesInTheirOrder) {
  Plan plan = small_plan();
  const auto others = place_jobs({.fabric = "", .on = "5", .beside = {plan_file() + "@2,0"}}, kInputs, plan);
  EXPECT_THAT(devices_of(plan), ElementsAre(40, 41, 42, 43));
  ASSERT_EQ(others.size(), 1);
  EXPECT_THAT(devices_of(others[0].plan), ElementsAre(16, 17, 18, 19));
  EXPECT_EQ(others[0].calibration.filename(), "h800.json");
}

TEST(SharedFabric, AFabricTakesThePlaceOfThePlansCluster) {
  Plan plan = small_plan();
  plan.cluster.groups.front().device.name = "NVIDIA H100 SXM 80GB";
  place_jobs({.fabric = "h100-64", .on = "7", .beside = {}}, kInputs, plan);
  EXPECT_EQ(plan.cluster.num_nodes(), 8);
  EXPECT_THAT(devices_of(plan), ElementsAre(56, 57, 58, 59));
}

TEST(SharedFabric, SaysWhatCannotBe) {
  const std::string other = plan_file();
  EXPECT_THAT(refusal_of({.fabric = "h100-64", .on = "0", .beside = {}}), HasSubstr("expected nodes with NVIDIA H800"));
  EXPECT_THAT(refusal_of({.fabric = "h800-2048", .on = "", .beside = {}}),
              HasSubstr("expected to be told on which of its nodes"));
  EXPECT_THAT(refusal_of({.fabric = "", .on = "256", .beside = {}}),
              HasSubstr("--on: nodes: expected numbers below 256"));
  EXPECT_THAT(refusal_of({.fabric = "", .on = "", .beside = {other}}), HasSubstr("expected PLAN@NODES"));
  EXPECT_THAT(refusal_of({.fabric = "", .on = "", .beside = {other + "@0"}}),
              HasSubstr("the plan and " + other + " are both on node 0"));
  EXPECT_THAT(refusal_of({.fabric = "", .on = "", .beside = {other + "@3", other + "@3"}}),
              HasSubstr("are both on node 3"));
}

TEST(SharedFabric, APlanNeedsAsManyDevicesAsItHasRanks) {
  Plan plan = small_plan();
  plan.device_of_rank.clear();  // a rank on each of 2048 devices
  try {
    place_jobs({.fabric = "", .on = "0-9", .beside = {}}, kInputs, plan);
    FAIL() << "expected a refusal";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("expected nodes with 2048 devices for the plan, got 80"));
  }
}

}  // namespace
}  // namespace orrery::cli
