// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/memory_intervals.h"

#include "base/errors.h"
#include "tests/unit/costmodel/validation/published.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

/// Errors of one framework and width: measured over predicted from 0.9 to 1.1.
void add(std::vector<MemoryError>& errors, std::int64_t hidden, double centre = 1.0) {
  for (int i = 0; i <= 20; ++i) {
    const double ratio = centre * (0.9 + 0.01 * i);
    errors.push_back({.run = "r",
                      .group = "g",
                      .framework = "nanotron",
                      .hidden = hidden,
                      .figure = MemoryFigure::reserved_peak,
                      .measured = gib(10.0 * ratio),
                      .predicted = gib(10.0),
                      .without_preset = gib(5.0)});
  }
}

TEST(MemoryIntervals, HoldTheMiddleOfTheErrorsByFrameworkAndFigure) {
  std::vector<MemoryError> errors;
  add(errors, 1024);
  const std::vector<MemoryInterval> one = memory_intervals(errors);
  ASSERT_EQ(one.size(), 2u);
  EXPECT_EQ(one[0].framework, "nanotron");
  EXPECT_EQ(one[0].figure, "mem_gib");
  EXPECT_NEAR(one[0].interval.low, 0.92, 0.011);
  EXPECT_NEAR(one[0].interval.high, 1.08, 0.011);
  EXPECT_EQ(one[0].interval.num_runs, 21);
  EXPECT_FALSE(one[0].coverage);  // one width: nothing to hold out
  EXPECT_EQ(one[1].framework, kAnyFramework);
  EXPECT_NEAR(one[1].interval.high, 2.16, 0.021);  // predicted at half
  EXPECT_DOUBLE_EQ(one[1].interval.low, 1.0);      // the prediction itself is always inside
}

TEST(MemoryIntervals, JudgeAWidthByTheOthers) {
  std::vector<MemoryError> errors;
  add(errors, 1024);
  add(errors, 2048);
  EXPECT_NEAR(*memory_intervals(errors)[0].coverage, 0.8, 0.1);
  add(errors, 4096, 2.0);  // unlike the others: none of it lies in their interval
  EXPECT_LT(*memory_intervals(errors)[0].coverage, 2.0 / 3.0 + 1e-9);
}

TEST(MemoryIntervals, OfPublishedRunsTellFrameworksApart) {
  const RunsFile file = read_runs(orrery::testing::repository_path("tests/data/runs/published.json"));
  const MemoryScore score = score_memory(file, testing::device_of_catalog);
  for (const MemoryError& error : score.errors) {
    EXPECT_FALSE(error.framework.empty());
    EXPECT_EQ(error.without_preset.has_value(), error.allocated.has_value());
  }
  const std::vector<MemoryInterval> found = memory_intervals(score.errors);
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(found.back().figure, kReserved);
}

TEST(MemoryIntervals, ReadBackAsWritten) {
  std::vector<MemoryError> errors;
  add(errors, 1024);
  const std::string text = to_json(memory_intervals(errors), "a test");
  const MemoryIntervals back = read_memory_intervals_text(text, "memory.json");
  EXPECT_EQ(back.source, "a test");
  EXPECT_NEAR(back.find("nanotron", "mem_gib")->high, 1.08, 0.011);
  EXPECT_TRUE(back.find(kAnyFramework, kReserved));
  EXPECT_FALSE(back.find("nanotron", "mem_alloc_gib"));
  EXPECT_FALSE(back.find("other", "mem_gib"));
  EXPECT_THROW(read_memory_intervals_text("{\"schema\": \"memory_intervals/1\"}", "memory.json"), ConfigError);
}

}  // namespace
}  // namespace orrery::costmodel
