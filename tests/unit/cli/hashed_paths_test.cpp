// SPDX-License-Identifier: Apache-2.0
#include "cli/hashed_paths.h"

#include "base/errors.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using ::testing::HasSubstr;

TEST(HashedPaths, RaiseWhatIsNoPairToPairs) {
  Fidelities fidelities(Fidelity::l1, {{OpCode::moe_dispatch, Fidelity::l3}, {OpCode::moe_combine, Fidelity::l0}});
  EXPECT_TRUE(raise_to_pairs(fidelities));
  EXPECT_EQ(fidelities,
            Fidelities(Fidelity::l2, {{OpCode::moe_dispatch, Fidelity::l3}, {OpCode::moe_combine, Fidelity::l2}}));
  EXPECT_FALSE(raise_to_pairs(fidelities));
}

/// What a user reads.
std::string told(const PathOptions& options, const Plan& plan, const Disturbances& disturbances) {
  try {
    require_paths(options, plan, disturbances);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(HashedPaths, NeedAFabricWhoseLinksStay) {
  Plan plan;
  plan.cluster.name = "lone";
  const PathOptions hashed{.seed = 1};
  EXPECT_NO_THROW(require_paths({}, plan, {}));
  EXPECT_EQ(told(hashed, plan, {}),
            "--ecmp-seed: expected a cluster with a fabric, since its switches are what draws paths, got lone");
  plan.cluster.fabric.kind = FabricKind::fat_tree;
  EXPECT_NO_THROW(require_paths(hashed, plan, {}));
  Disturbances disturbances;
  disturbances.links.push_back({.link = LinkClass::nic});
  EXPECT_EQ(told({.num_seeds = 3}, plan, disturbances),
            "--ecmp-seeds: expected links that stay as they are: disturbances are of all uplinks of a leaf together, "
            "and a hash knows each for itself");
}

TEST(HashedPaths, SayHowFarStepsLieApart) {
  Report report;
  add_path_spread(report, seconds(2.0), {seconds(5.0), seconds(3.0), seconds(3.5)});
  EXPECT_THAT(report.text(), HasSubstr("3 seeds"));
  EXPECT_THAT(report.text(), ::testing::ContainsRegex("balanced +2.00 s +1\n +hashed, least +3.00 s +1.5\n +hashed, "
                                                      "median +3.50 s +1.75\n +hashed, most +5.00 s +2.5"));
}

}  // namespace
}  // namespace orrery::cli
