// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/probe.h"

#include "executor/runtime/rank_runtime.h"
#include "program/legality.h"
#include "program/lower.h"
#include "tests/unit/executor/calibration/small_probe.h"

#include <set>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using ::testing::IsEmpty;
using testing::small_model;
using testing::small_probe;
using testing::small_source;

std::vector<Probe> probes_of(std::int64_t global_batch, std::int64_t num_ranks) {
  return model_probes(small_source(), small_model(), {.seq = 16, .global_batch = global_batch}, DType::f32, num_ranks);
}

TEST(ModelProbes, AreLegalAndHaveAnExpertDegreeWithEachMicroBatch) {
  std::set<std::tuple<std::int64_t, std::int64_t>> found;
  for (const Probe& probe : probes_of(32, 4)) {
    EXPECT_THAT(violations(probe.model, probe.strategy, probe.batch, 4), IsEmpty());
    if (probe.strategy.pp == 1 && probe.strategy.zero_dense == 0) {
      found.insert({probe.strategy.ep, probe.strategy.micro_batch});
    }
  }
  const std::set<std::tuple<std::int64_t, std::int64_t>> expected = {{1, 1}, {1, 2}, {1, 4}, {1, 8}, {2, 1}, {2, 2},
                                                                     {2, 4}, {2, 8}, {4, 1}, {4, 2}, {4, 4}, {4, 8}};
  EXPECT_EQ(found, expected);
}

TEST(ModelProbes, AskForNoMicroBatchThatTheBatchDoesNotHave) {
  for (const Probe& probe : probes_of(8, 4)) EXPECT_LE(probe.strategy.micro_batch, 2);
}

TEST(ModelProbes, GiveExpertsFewRowsInAShortSequence) {
  std::set<std::int64_t> degrees;
  for (const Probe& probe : probes_of(32, 4)) {
    if (probe.batch.seq == 2) degrees.insert(probe.strategy.ep);
  }
  EXPECT_EQ(degrees, (std::set<std::int64_t>{1, 2, 4}));
}

TEST(ModelProbes, TakeFourMicroBatchesIfThereAreAsMany) {
  for (const Probe& probe : probes_of(32, 2)) {
    if (probe.strategy.pp > 1) continue;
    const std::int64_t num_micro_batches = probe.batch.global_batch / (2 * probe.strategy.micro_batch);
    EXPECT_EQ(num_micro_batches, probe.strategy.micro_batch == 8 ? 2 : 4);
  }
}

TEST(ModelProbes, HavePipelinesNoLongerThanTheModelAndShardsWhereStatesCanBeShared) {
  std::set<std::tuple<std::int64_t, std::int64_t, int>> layouts;  // pp, ep, ZeRO
  for (const Probe& probe : probes_of(32, 4)) {
    layouts.insert({probe.strategy.pp, probe.strategy.ep, probe.strategy.zero_dense});
  }
  const std::set<std::tuple<std::int64_t, std::int64_t, int>> expected = {
      {1, 1, 0}, {1, 2, 0}, {1, 4, 0}, {1, 1, 1}, {1, 2, 1}, {1, 4, 1}, {2, 1, 0}, {2, 2, 0}, {2, 1, 1}, {2, 2, 1}};
  EXPECT_EQ(layouts, expected);
}

TEST(GeneralProbes, RunOnAnyNumberOfRanks) {
  for (const std::int64_t num_ranks : {1, 2, 3, 16}) {
    for (const Probe& probe : general_probes(DType::bf16, num_ranks)) {
      EXPECT_THAT(violations(probe.model, probe.strategy, probe.batch, num_ranks), IsEmpty()) << probe.source.path;
      EXPECT_THAT(cpu_unsupported(lower(probe.model, probe.strategy, probe.batch, num_ranks)), IsEmpty());
    }
  }
}

TEST(Probe, InAPipelineOnlyTheEndOfTheStepCounts) {
  EXPECT_TRUE(is_measured(small_probe(2, 1), Pass::fwd));
  EXPECT_FALSE(is_measured(small_probe(2, 2), Pass::fwd));
  EXPECT_FALSE(is_measured(small_probe(2, 2), Pass::wgrad));
  EXPECT_TRUE(is_measured(small_probe(2, 2), Pass::sync));
  EXPECT_TRUE(is_measured(small_probe(2, 2), Pass::update));
}

}  // namespace
}  // namespace orrery::executor
