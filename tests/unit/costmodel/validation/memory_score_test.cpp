// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/memory_score.h"

#include "tests/unit/costmodel/validation/published.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

Device device_of(Bytes memory) {
  Device device;
  device.name = "a device";
  device.memory = memory;
  return device;
}

DeviceLookup every_device_has(double memory_gib) {
  return [memory_gib](const std::string&) { return device_of(gib(memory_gib)); };
}

TEST(MemoryScore, ComparesEachFigureWithItsOwnMoment) {
  const MemoryScore score =
      score_memory(testing::published({"nanotron_h100_bench-0", "simumax-70c6e4a0"}), every_device_has(79.19));
  ASSERT_EQ(score.errors.size(), 3u);
  EXPECT_EQ(score.num_modelled, 2u);
  EXPECT_EQ(name_of(score.errors[0].figure), "mem_alloc_gb");
  EXPECT_EQ(score.errors[0].measured, gib(25.07));
  // 1,342,244,864 parameters at 20 bytes, and two workspaces of 32 MiB.
  EXPECT_EQ(score.errors[0].predicted, bytes(20.0 * 1342244864) + mib(64));
  EXPECT_LT(std::abs(score.errors[0].relative()), 0.001);
  EXPECT_EQ(name_of(score.errors[1].figure), "mem_reserved_gb");
  EXPECT_GT(score.errors[1].predicted, score.errors[0].predicted);
  EXPECT_EQ(name_of(score.errors[2].figure), "mem_alloc_gib");
  EXPECT_LT(std::abs(score.errors[2].relative()), 0.01);
}

TEST(MemoryScore, SumsUpByGroupAndFigure) {
  const MemoryScore score =
      score_memory(testing::published({"nanotron_h100_bench-0", "nanotron_h100_bench-177"}), every_device_has(79.19));
  ASSERT_EQ(score.groups.size(), 2u);
  ASSERT_EQ(score.errors.size(), 4u);
  const MemoryErrorsOfGroup& reserved = score.groups[1];
  EXPECT_EQ(reserved.group, "nanotron_h100_bench");
  EXPECT_EQ(reserved.figure, MemoryFigure::reserved_peak_of_first);
  EXPECT_EQ(reserved.num_figures, 2u);
  const double first = score.errors[1].relative(), second = score.errors[3].relative();
  EXPECT_DOUBLE_EQ(reserved.mean_absolute, (std::abs(first) + std::abs(second)) / 2.0);
  EXPECT_DOUBLE_EQ(reserved.median_absolute, reserved.mean_absolute);
  EXPECT_DOUBLE_EQ(reserved.bias, (first + second) / 2.0);
  const double ratio = score.errors[1].measured / *score.errors[1].allocated;
  EXPECT_DOUBLE_EQ(*reserved.median_over_allocated,
                   0.5 * (ratio + score.errors[3].measured / *score.errors[3].allocated));
  EXPECT_NEAR(ratio * (1.0 + first), 1.15, 1e-9);  // the preset's fragmentation
  EXPECT_FALSE(score.groups[0].median_over_allocated.has_value());
  EXPECT_EQ(reserved.worst, std::abs(first) > std::abs(second) ? first : second);
  EXPECT_EQ(reserved.worst_run,
            std::abs(first) > std::abs(second) ? "nanotron_h100_bench-0" : "nanotron_h100_bench-177");
}

TEST(MemoryScore, CountsWhatRanAndWhatFailedAgainstWhatWasSaid) {
  const std::vector<std::string> ids = {"nanotron_h100_bench-0", "nanotron_h100_bench-177", "nanotron_h100_oom-79"};
  const MemoryScore right = score_memory(testing::published(ids), every_device_has(79.19));
  ASSERT_EQ(right.feasibility.size(), 3u);  // all, and by width
  EXPECT_EQ(right.feasibility[0].framework, "nanotron");
  EXPECT_EQ(right.feasibility[0].hidden, 0);
  EXPECT_EQ(right.feasibility[0].num_ran, 2u);
  EXPECT_EQ(right.feasibility[0].num_failed, 1u);
  EXPECT_EQ(right.feasibility[0].precision(), 1.0);
  EXPECT_EQ(right.feasibility[0].recall(), 1.0);
  EXPECT_EQ(right.feasibility[1].hidden, 2048);
  EXPECT_EQ(right.feasibility[2].hidden, 3072);
  EXPECT_FALSE(right.feasibility[2].recall().has_value());

  const MemoryScore small = score_memory(testing::published(ids), every_device_has(20.0));
  EXPECT_EQ(small.feasibility[0].num_ran_unlike_said, 2u);
  EXPECT_EQ(small.feasibility[0].ran_unlike_said,
            (std::vector<std::string>{"nanotron_h100_bench-0", "nanotron_h100_bench-177"}));
  EXPECT_DOUBLE_EQ(*small.feasibility[0].precision(), 1.0 / 3.0);

  const MemoryScore large = score_memory(testing::published(ids), every_device_has(1000.0));
  EXPECT_EQ(large.feasibility[0].failed_unlike_said, std::vector<std::string>{"nanotron_h100_oom-79"});
  EXPECT_EQ(large.feasibility[0].recall(), 0.0);
  EXPECT_FALSE(large.feasibility[0].precision().has_value());
}

TEST(MemoryScore, AsksWhetherRecomputingMakesItFitWhereTheSourceIsSilent) {
  RunsFile file = testing::published({"simumax-70c6e4a0"});
  file.runs.front().recompute_known = false;
  const MemoryScore silent = score_memory(file, every_device_has(65.0));
  EXPECT_EQ(silent.feasibility[0].num_ran_if_recomputing, 1u);
  EXPECT_EQ(silent.feasibility[0].num_ran_unlike_said, 0u);
  EXPECT_EQ(score_memory(file, every_device_has(40.0)).feasibility[0].num_ran_unlike_said, 1u);
  file.runs.front().recompute_known = true;
  EXPECT_EQ(score_memory(file, every_device_has(65.0)).feasibility[0].num_ran_unlike_said, 1u);
}

TEST(MemoryScore, CountsRunsThatCannotBeModelledUnderTheirReason) {
  RunsFile file = testing::published({"vtrain-multi-0", "bridge-285e9ead", "vtrain-multi-0"});
  file.runs.back().id = "again";
  file.runs.front().software = file.runs.back().software = "JAX";
  const MemoryScore score = score_memory(file, every_device_has(80.0));
  EXPECT_EQ(score.num_runs, 3u);
  EXPECT_EQ(score.num_modelled, 0u);
  ASSERT_EQ(score.refused.size(), 2u);
  EXPECT_EQ(score.refused[0].reason, "no preset for the software of vtrain_multi_node");
  EXPECT_EQ(score.refused[0].ids, (std::vector<std::string>{"vtrain-multi-0", "again"}));
  EXPECT_EQ(score.refused[1].reason, "task: lora");
}

TEST(MemoryScore, CountsARowWithoutANumberAmongThoseNotModelled) {
  RunsFile file = testing::published({"simumax-70c6e4a0"});
  file.broken.push_back({.id = "b", .group = "simumax", .gpu = "B200", .reason = "micro_batch is NaN"});
  const MemoryScore score = score_memory(file, every_device_has(180.0));
  EXPECT_EQ(score.num_runs, 2u);
  EXPECT_EQ(score.num_modelled, 1u);
  ASSERT_EQ(score.refused.size(), 1u);
  EXPECT_EQ(score.refused[0].reason, "micro_batch is NaN");
  EXPECT_EQ(score.refused[0].ids, std::vector<std::string>{"b"});
}

TEST(MemoryScore, CountsFiguresThatItCannotModelAsAHundredPercent) {
  RunsFile file = testing::published({"nanotron_h100_bench-0", "nanotron_h100_bench-177", "simumax-70c6e4a0"});
  file.runs[1].software = "JAX";  // both of its figures are refused
  file.runs[2].software = "JAX";
  file.runs[1].group = file.runs[0].group;
  file.broken.push_back(
      {.id = "b", .group = file.runs[0].group, .measured = {"step_s", "mem_reserved_gb"}, .reason = "0"});
  const MemoryScore score = score_memory(file, every_device_has(79.19));
  ASSERT_EQ(score.errors.size(), 2u);
  ASSERT_EQ(score.groups.size(), 3u);
  const MemoryErrorsOfGroup &allocated = score.groups[0], &reserved = score.groups[1], &none = score.groups[2];
  EXPECT_EQ(allocated.num_refused, 1u);
  EXPECT_NEAR(allocated.mean_with_refused, (std::abs(score.errors[0].relative()) + 1.0) / 2.0, 1e-12);
  EXPECT_NEAR(allocated.mean_absolute, std::abs(score.errors[0].relative()), 1e-12);
  EXPECT_EQ(reserved.num_refused, 2u);
  EXPECT_NEAR(reserved.mean_with_refused, (std::abs(score.errors[1].relative()) + 2.0) / 3.0, 1e-12);
  EXPECT_EQ(none.group, "simumax");
  EXPECT_EQ(none.num_figures, 0u);
  EXPECT_DOUBLE_EQ(none.mean_with_refused, 1.0);
}

TEST(MemoryScore, NamesTheRuleThatAStrategyBreaks) {
  RunsFile file = testing::published({"simumax-15a19e03"});
  file.runs.front().ep = 7;
  file.runs.front().num_gpus = 56;
  file.runs.front().dp = 56;
  file.runs.front().global_batch = 56;
  const MemoryScore score = score_memory(file, every_device_has(80.0));
  ASSERT_EQ(score.refused.size(), 1u);
  EXPECT_EQ(score.refused[0].reason, "strategy: /ep: expected a divisor of 160 (number of experts)");
}

TEST(MemoryScore, SaysWhoseDeviceIsNotInTheCatalog) {
  const auto none = [](const std::string&) -> std::optional<Device> { return std::nullopt; };
  const MemoryScore score = score_memory(testing::published({"simumax-70c6e4a0"}), none);
  EXPECT_TRUE(score.feasibility.empty());
  EXPECT_EQ(score.devices_not_in_catalog, std::vector<std::string>{"B200"});
  EXPECT_EQ(score.errors.size(), 1u);
}

TEST(MemoryScore, KeepsEachAssumptionOnce) {
  const MemoryScore score =
      score_memory(testing::published({"nanotron_h100_bench-177", "nanotron_h100_oom-79"}), every_device_has(79.19));
  EXPECT_EQ(score.assumptions,
            (std::vector<std::string>{"kv_heads: as many as heads",
                                      "tied embeddings: the first and the last stage hold a copy each"}));
}

}  // namespace
}  // namespace orrery::costmodel
