// SPDX-License-Identifier: Apache-2.0
// Lines of results: what was written comes back, also after a process that died while it wrote one.
#include "cli/sweep_results.h"

#include "base/errors.h"
#include "base/files.h"
#include "tests/unit/base/test_folder.h"

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

SweepResult result(std::int64_t num_nodes) {
  return {.point = {"m", "c", num_nodes, 4096, 512, {"tp<=2"}},
          .num_devices = 8 * num_nodes,
          .infeasible = "",
          .step_time = seconds(1.0 / 3.0),
          .peak_memory = gib(7),
          .usd = 0.25,
          .gap = 0.125,
          .strategy = "pp 2"};
}

TEST(SweepResults, ComeBackAsTheyWereWritten) {
  const orrery::testing::TestFolder folder;
  const std::string path = folder / "r.jsonl";
  EXPECT_TRUE(read_results(path).empty());
  const Strategy strategy;
  append_result(path, result(1), &strategy);
  SweepResult none = result(2);
  none.infeasible = "nothing fits";
  append_result(path, none, nullptr);
  const auto all = read_results(path);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].point, result(1).point);
  EXPECT_EQ(all[0].step_time, seconds(1.0 / 3.0));
  EXPECT_EQ(all[0].peak_memory, gib(7));
  EXPECT_EQ(all[0].usd, 0.25);
  EXPECT_EQ(all[0].gap, 0.125);
  EXPECT_EQ(all[0].strategy, "pp 2");
  EXPECT_EQ(all[1].infeasible, "nothing fits");
  EXPECT_EQ(all[1].num_devices, 16);
}

TEST(SweepResults, LoseHalfALineAndNothingElse) {
  const orrery::testing::TestFolder folder;
  const std::string path = folder / "r.jsonl";
  append_result(path, result(1), nullptr);
  const std::string whole = read_file(path);
  write_file_atomically(path, whole + whole.substr(0, 40));
  EXPECT_EQ(read_results(path).size(), 1U);
  append_result(path, result(2), nullptr);
  EXPECT_EQ(read_file(path).substr(0, whole.size()), whole);
  EXPECT_EQ(read_results(path).size(), 2U);
}

TEST(SweepResults, OfAllProcessesAreRead) {
  const orrery::testing::TestFolder folder;
  const std::string path = folder / "r.jsonl";
  for (std::int64_t i = 0; i < 2; ++i)
    append_result(results_path(path, {.index = i, .count = 2}), result(i + 1), nullptr);
  append_result(path, result(3), nullptr);
  write_file_atomically(folder / "r.jsonl.bak", "no result\n");
  EXPECT_EQ(read_results(path).size(), 3U);
}

TEST(SweepResults, ThatAreNoneAreNamedByLine) {
  const orrery::testing::TestFolder folder;
  const std::string path = folder / "r.jsonl";
  append_result(path, result(1), nullptr);
  write_file_atomically(path, read_file(path) + "{\"model\": 3}\n");
  try {
    read_results(path);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("r.jsonl:2: /model"), std::string::npos) << error.what();
  }
}

TEST(SweepShare, ComesFromTheLauncher) {
  for (const char* name :
       {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "SLURM_PROCID", "SLURM_NTASKS"}) {
    ::unsetenv(name);
  }
  EXPECT_EQ(SweepShare::of_environment().count, 1);
  ::setenv("PMI_RANK", "2", 1);
  EXPECT_EQ(SweepShare::of_environment().count, 1);
  ::setenv("PMI_SIZE", "4", 1);
  EXPECT_EQ(SweepShare::of_environment().index, 2);
  EXPECT_EQ(SweepShare::of_environment().count, 4);
  ::setenv("PMI_SIZE", "2", 1);
  EXPECT_EQ(SweepShare::of_environment().count, 1);
  ::unsetenv("PMI_RANK");
  ::unsetenv("PMI_SIZE");
}

}  // namespace
}  // namespace orrery::cli
