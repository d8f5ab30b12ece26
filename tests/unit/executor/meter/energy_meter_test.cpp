// SPDX-License-Identifier: Apache-2.0
#include "executor/meter/energy_meter.h"

#include "tests/unit/base/test_folder.h"

#include <fstream>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

namespace fs = std::filesystem;

/// A folder that looks like the kernel's, with counters that the test turns.
class FakePowercap : public ::testing::Test {
 protected:
  void set(const std::string& zone, double microjoules) {
    fs::create_directories(root_ / zone);
    std::ofstream(root_ / zone / "energy_uj") << static_cast<long long>(microjoules) << '\n';
    std::ofstream(root_ / zone / "max_energy_range_uj") << 1000000 << '\n';
  }

  const orrery::testing::TestFolder folder_;
  const fs::path& root_ = folder_.path();
};

TEST_F(FakePowercap, AddsUpThePackagesAndLeavesOutTheirParts) {
  set("intel-rapl:0", 100);
  set("intel-rapl:0:0", 50);
  set("intel-rapl:1", 200);
  EnergyMeter meter(root_);
  ASSERT_TRUE(meter.available());
  set("intel-rapl:0", 400000);
  set("intel-rapl:0:0", 300000);
  set("intel-rapl:1", 700200);
  EXPECT_DOUBLE_EQ(meter.read()->in(unit::joule), 0.3999 + 0.7);
}

TEST_F(FakePowercap, GoesOnWhenACounterStartsAgain) {
  set("intel-rapl:0", 900000);
  EnergyMeter meter(root_);
  set("intel-rapl:0", 100000);
  EXPECT_DOUBLE_EQ(meter.read()->in(unit::joule), 0.2);
  set("intel-rapl:0", 300000);
  EXPECT_DOUBLE_EQ(meter.read()->in(unit::joule), 0.4);
}

TEST_F(FakePowercap, SaysThatThereIsNoCounter) {
  EnergyMeter empty(root_);
  EXPECT_FALSE(empty.available());
  EXPECT_EQ(empty.read(), std::nullopt);
  EXPECT_FALSE(EnergyMeter(root_ / "missing").available());
}

TEST_F(FakePowercap, APackageThatCannotBeReadMeansNoCounter) {
  set("intel-rapl:0", 100);
  set("intel-rapl:1", 100);
  fs::remove(root_ / "intel-rapl:1" / "energy_uj");
  EXPECT_FALSE(EnergyMeter(root_).available());
}

}  // namespace
}  // namespace orrery::executor
