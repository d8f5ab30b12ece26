// SPDX-License-Identifier: Apache-2.0
#include "executor/meter/step_lines.h"

#include "base/errors.h"
#include "base/files.h"
#include "tests/unit/executor/checkpoint/broken_files.h"

#include <filesystem>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using testing::error_of;
using testing::TestFolder;

StepLine line_of(std::int64_t step) {
  return {.step = step,
          .time = seconds(0.5),
          .tokens = 64,
          .loss = 5.5,
          .grad_norm = 1.25,
          .sent_bytes = {{{"dp", "dp.grad_ar"}, 100}, {{"ep", "moe.combine"}, 30}, {{"ep", "moe.dispatch"}, 20}},
          .energy = {}};
}

TEST(StepLines, HoldWhatAStepTook) {
  EXPECT_EQ(text_of(line_of(3)),
            R"({"schema":"step_metrics/1","step":3,"seconds":0.5,"tokens":64,"loss":5.5,"grad_norm":1.25,)"
            R"("bytes":{"dp":{"dp.grad_ar":100},"ep":{"moe.combine":30,"moe.dispatch":20}},"energy":"no counter"})");
  StepLine line = line_of(0);
  line.sent_bytes.clear();
  line.energy = joules(2.5);
  EXPECT_TRUE(text_of(line).ends_with(R"("bytes":{},"energy":2.5})")) << text_of(line);
}

TEST(StepLines, GoOnBehindTheStepsBeforeAndAreStartedAnewAtTheFirst) {
  const TestFolder folder;
  const std::string path = folder / "steps.jsonl";
  const auto lines = [](std::initializer_list<int> steps) {
    std::string all;
    for (const int step : steps) all += text_of(line_of(step)) + "\n";
    return all;
  };
  start_step_lines(path, 2);  // there is none yet
  EXPECT_EQ(read_file(path), "");
  for (const int step : {0, 1, 2}) append_step_line(path, line_of(step));
  EXPECT_EQ(read_file(path), lines({0, 1, 2}));
  write_file_atomically(path, lines({0, 1, 2}) + "{\"schema\":\"step_me");  // as a run that was killed leaves it
  start_step_lines(path, 2);
  EXPECT_EQ(read_file(path), lines({0, 1}));
  append_step_line(path, line_of(2));
  EXPECT_EQ(read_file(path), lines({0, 1, 2}));
  start_step_lines(path, 0);
  EXPECT_EQ(read_file(path), "");
}

TEST(StepLines, AFileOfOthersIsLeftAloneAndAFullDiskIsNamed) {
  const TestFolder folder;
  write_file_atomically(folder / "other", "{\"schema\":\"trace/1\"}\n");
  EXPECT_THROW(start_step_lines(folder / "other", 1), ConfigError);
  EXPECT_EQ(read_file(folder / "other"), "{\"schema\":\"trace/1\"}\n");
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  EXPECT_EQ(error_of(folder, [] { append_step_line("/dev/full", line_of(0)); }),
            "cannot write /dev/full: No space left on device");
}

}  // namespace
}  // namespace orrery::executor
