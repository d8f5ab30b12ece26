// SPDX-License-Identifier: Apache-2.0
// The points of a sweep, and files that are none.
#include "planner/sweep.h"

#include "base/errors.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "tests/unit/program/reading.h"

#include <string>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using orrery::testing::repository_path;

TEST(Sweep, IsEveryCombinationTheLastListFastest) {
  const auto points = read_sweep(repository_path("tests/data/schemas/sweep/good-complete.json").string());
  ASSERT_EQ(points.size(), 2U * 1 * 3 * 2 * 1 * 2);
  EXPECT_EQ(points[0], (SweepPoint{"mixtral-8x7b", "h100-64", 2, 4096, 512, {}}));
  EXPECT_EQ(points[1], (SweepPoint{"mixtral-8x7b", "h100-64", 2, 4096, 512, {"tp<=2", "recompute!=full"}}));
  EXPECT_EQ(points[2].seq, 8192);
  EXPECT_EQ(points[4].num_nodes, 4);
  EXPECT_EQ(points.back(), (SweepPoint{"qwen3-30b-a3b", "h100-64", 8, 8192, 512, {"tp<=2", "recompute!=full"}}));
}

TEST(Sweep, WithoutNodesAndConditionsIsOfWholeClusters) {
  const auto points = read_sweep(repository_path("tests/data/schemas/sweep/good-small.json").string());
  ASSERT_EQ(points.size(), 1U);
  EXPECT_EQ(points[0], (SweepPoint{"mixtral-8x7b", "h100-64", 0, 4096, 512, {}}));
}

TEST(Sweep, PointsComeBackFromTheirLine) {
  const SweepPoint point{"a/b.json", "c \"d\"", 3, 128, 7, {"tp<=2", "pp=1"}};
  JsonWriter out(JsonWriter::Layout::line);
  out.begin_object();
  write_point(out, point);
  out.end_object();
  const JsonDocument line = JsonDocument::parse_text(out.text(), "line");
  EXPECT_EQ(read_point(line.root()), point);
}

TEST(Sweep, IsJudgedAsItsTableSays) {
  const auto folder = repository_path("tests/data/schemas");
  const JsonDocument table = JsonDocument::parse_file((folder / "expectations.json").string());
  int num_judged = 0;
  for (const JsonValue& value : table.root().required("files").array()) {
    const JsonObject row = value.object();
    if (row.required("schema").string() != "sweep/1") continue;
    const std::string file = row.required("file").string(), pointer = row.optional("pointer").string().value_or("");
    SCOPED_TRACE(file);
    ++num_judged;
    try {
      read_sweep((folder / file).string());
      EXPECT_TRUE(row.required("valid").boolean());
    } catch (const ConfigError& error) {
      EXPECT_FALSE(row.required("valid").boolean()) << error.what();
      for (const Problem& problem : error.problems()) EXPECT_EQ(problem.pointer, pointer);
    }
  }
  EXPECT_EQ(num_judged, 6);
}

}  // namespace
}  // namespace orrery::planner
