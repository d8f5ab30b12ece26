// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/feasibility.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// 40 GiB of tensors on a device of 50 GiB, of which 2 GiB are the process's: fits up to a fragmentation of 0.2.
JudgedRun run_of(std::string id, bool out_of_memory) {
  JudgedRun run;
  run.id = std::move(id);
  run.framework = "made up";
  run.hidden = 1024;
  run.out_of_memory = out_of_memory;
  run.allocated = gib(40);
  run.fragmentation = 0.1;
  run.reserve = gib(2);
  run.device_memory = gib(50);
  return run;
}

TEST(Feasibility, AddsFragmentationAndReserveToWhatIsAllocated) {
  const JudgedRun run = run_of("a", false);
  EXPECT_TRUE(run.fits(0.1));
  EXPECT_TRUE(run.fits(0.2));  // exactly full
  EXPECT_FALSE(run.fits(0.201));
}

TEST(Feasibility, AsksForRecomputationOnlyWhereTheSourceIsSilent) {
  JudgedRun run = run_of("a", false);
  EXPECT_FALSE(run.fits_if_recomputing(0.0));
  run.if_recomputing = gib(30);
  EXPECT_TRUE(run.fits_if_recomputing(0.5));
  EXPECT_FALSE(run.fits_if_recomputing(0.7));
}

TEST(Feasibility, CountsEachOutcomeUnderWhatWasSaid) {
  JudgedRun silent = run_of("silent", false);
  silent.if_recomputing = gib(30);
  Feasibility tight, loose;
  for (const JudgedRun& run : {run_of("ran", false), run_of("failed", true), silent}) {
    tight.count(run, 0.3);
    loose.count(run, 0.1);
  }
  EXPECT_EQ(tight.num_ran, 2u);
  EXPECT_EQ(tight.num_failed, 1u);
  EXPECT_EQ(tight.num_failed_as_said, 1u);
  EXPECT_EQ(tight.num_ran_unlike_said, 1u);
  EXPECT_EQ(tight.num_ran_if_recomputing, 1u);
  EXPECT_EQ(tight.ran_unlike_said, std::vector<std::string>{"ran"});
  EXPECT_TRUE(tight.failed_unlike_said.empty());
  EXPECT_EQ(tight.precision(), 0.5);
  EXPECT_EQ(tight.recall(), 1.0);
  EXPECT_EQ(loose.num_failed_as_said, 0u);
  EXPECT_EQ(loose.failed_unlike_said, std::vector<std::string>{"failed"});
  EXPECT_EQ(loose.num_ran_if_recomputing, 0u);
  EXPECT_FALSE(loose.precision().has_value());
  EXPECT_EQ(loose.recall(), 0.0);
}

TEST(Feasibility, GroupsByFrameworkThenAllThenWidth) {
  JudgedRun wide = run_of("wide", true), other = run_of("other", false);
  wide.hidden = 4096;
  wide.fragmentation = 0.3;  // each run's own preset
  other.framework = "another";
  const std::vector<Feasibility> groups = feasibility_of({wide, run_of("narrow", true), other});
  ASSERT_EQ(groups.size(), 5u);
  EXPECT_EQ(groups[0].framework, "another");
  EXPECT_EQ(groups[0].hidden, 0);
  EXPECT_FALSE(groups[0].recall().has_value());
  EXPECT_EQ(groups[1].hidden, 1024);
  EXPECT_EQ(groups[2].framework, "made up");
  EXPECT_EQ(groups[2].hidden, 0);
  EXPECT_EQ(groups[2].num_failed, 2u);
  EXPECT_EQ(groups[2].recall(), 0.5);
  EXPECT_EQ(groups[3].hidden, 1024);
  EXPECT_EQ(groups[3].recall(), 0.0);
  EXPECT_EQ(groups[4].hidden, 4096);
  EXPECT_EQ(groups[4].recall(), 1.0);
}

}  // namespace
}  // namespace orrery::costmodel
