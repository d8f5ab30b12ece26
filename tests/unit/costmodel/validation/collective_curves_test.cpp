// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/collective_curves.h"

#include "base/errors.h"
#include "tests/unit/program/reading.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

CurvesFile of_text(const std::string& text) {
  return read_collective_curves(JsonDocument::parse_text(text, "curves.json"));
}

CurvesFile published() {
  return read_collective_curves(
      JsonDocument::parse_file(orrery::testing::repository_path("tests/data/collectives/curves.json")));
}

std::vector<Curve> of_entry(const CurvesFile& file, std::size_t entry) {
  std::vector<Curve> out;
  std::copy_if(file.curves.begin(), file.curves.end(), std::back_inserter(out),
               [&](const Curve& curve) { return curve.entry == entry; });
  return out;
}

std::string file_of(const std::string& entry) { return R"({"schema_version": 1, "entries": [)" + entry + "]}"; }

TEST(CollectiveCurves, HaveTimesAsTheyArePrintedOrFromTheBusBandwidth) {
  const CurvesFile file = published();
  const Curve printed = of_entry(file, 0).front();
  EXPECT_EQ(printed.op, "all_reduce");
  EXPECT_EQ(printed.gpu, "H100-80GB");
  EXPECT_EQ(printed.points.front().time, microseconds(13.67));
  EXPECT_EQ(printed.points.front().ranks, 8);
  // 1.44 GB/s of 2 x 7/8 of the size, on one node, and on four of 2 x 31/32 of it.
  const std::vector<Curve> both = of_entry(file, 2);
  ASSERT_EQ(both.size(), 2U);
  const CurvePoint& one = both[0].points.back();
  const CurvePoint& four = both[1].points.back();
  EXPECT_EQ(one.nodes, 1);
  EXPECT_EQ(four.nodes, 4);
  EXPECT_EQ(four.ranks, 32);
  EXPECT_LT(four.time / one.time, 4.0);
}

TEST(CollectiveCurves, CountTheBytesOfTokensAsTheirSourceDoes) {
  const std::vector<Curve> curves = of_entry(published(), 5);
  ASSERT_EQ(curves.size(), 8U);  // four places, there and back
  const Curve& one_node = curves[0];
  ASSERT_TRUE(one_node.tokens.has_value());
  EXPECT_TRUE(one_node.tokens->to_experts);
  EXPECT_FALSE(curves[1].tokens->to_experts);
  // 4096 tokens of 7392 bytes, each to 5.2947 of eight devices (docs/design/collectives.md), at 153 GB/s.
  EXPECT_NEAR(one_node.points.front().size.in(unit::byte), 5.2947 * 4096 * 7392, 1e4);
  EXPECT_NEAR(one_node.points.front().time.in(unit::microsecond), 1047.8, 0.1);
  // Over eight nodes to four groups at most.
  EXPECT_LT(curves[6].points.front().size.in(unit::byte), 4.0 * 4096 * 7392);
  const std::vector<Curve> second = of_entry(published(), 6);
  EXPECT_EQ(second.front().gpu, "SM90");
  EXPECT_EQ(second.front().points.front().ranks, 16);
  EXPECT_EQ(second.front().points.front().nodes, 2);
}

TEST(CollectiveCurves, CountWhatIsNoPointByItsReason) {
  const CurvesFile file = published();
  const auto reason_of = [&](std::size_t entry) {
    const auto found = std::find_if(file.unread.begin(), file.unread.end(),
                                    [&](const UnreadFigures& figures) { return figures.entry == entry; });
    return found == file.unread.end() ? "" : found->reason + " " + std::to_string(found->num_figures);
  };
  EXPECT_EQ(reason_of(2), "bandwidth below 0.1 GB/s, printed with two decimals 2");
  EXPECT_EQ(reason_of(3), "NVLS switched off 5");
  EXPECT_EQ(reason_of(4), "an algorithm that was forced 2");
  EXPECT_EQ(reason_of(8), "low-latency kernels, which go around NVLink 12");
  EXPECT_EQ(reason_of(9), "the GPU is not stated 5");
  EXPECT_EQ(reason_of(0), "");
}

TEST(CollectiveCurves, RefuseATableWhoseRowsDoNotFitItsColumns) {
  try {
    of_text(
        file_of("\n"
                R"({"op": "all_reduce", "gpu": "A100", "columns": ["size_B", "time_us"],)"
                "\n"
                R"("data": [[8]], "source": {"repo": "a/b"}, "gpus": 8})"));
    FAIL() << "was read";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "curves.json:3: /entries/0/data/0: expected 2 values, one for each column, got 1\n"
                 "curves.json:3: /entries/0/gpus: unknown key; did you mean \"gpu\"?");
  }
}

TEST(CollectiveCurves, RefuseAFileWithoutData) {
  constexpr const char* kNone = "curves.json:1: /entries: expected at least one entry with data, got none";
  for (const char* entry :
       {"", R"({"op": "all_reduce", "gpu": "A100", "columns": ["size_B"], "data": [], "source": {"repo": "a/b"}})"}) {
    EXPECT_EQ(orrery::testing::problems_of([&] { return of_text(file_of(entry)); }), kNone);
  }
}

TEST(CollectiveCurves, JudgeTheCorpusOfFilesAsTheSchemaDoes) {
  using orrery::testing::repository_path;
  const JsonDocument table = JsonDocument::parse_file(repository_path("tests/data/schemas/expectations.json").string());
  int num_judged = 0;
  for (const JsonValue& value : table.root().required("files").array()) {
    const JsonObject row = value.object();
    if (row.required("schema").string() != "collective_curves") continue;
    const std::string file = row.required("file").string(), pointer = row.optional("pointer").string().value_or("");
    SCOPED_TRACE(file);
    ++num_judged;
    try {
      read_collective_curves(JsonDocument::parse_file(repository_path("tests/data/schemas/" + file).string()));
      EXPECT_TRUE(row.required("valid").boolean());
    } catch (const ConfigError& error) {
      EXPECT_FALSE(row.required("valid").boolean()) << error.what();
      for (const Problem& problem : error.problems()) {
        EXPECT_TRUE(pointer.starts_with(problem.pointer)) << error.what();  // a missing key is reported at its object
      }
    }
  }
  EXPECT_EQ(num_judged, 12);
}

TEST(CollectiveCurves, CountARowWithNaNAndReadTheOthers) {
  const std::string entry = R"({"op": "all_reduce", "gpu": "A100", "n_gpus": 8, "columns": ["size_B", "time_us"],
                  "data": [[8, 2.0], [16, NaN], [32, 2.5], [1e999, -Infinity]], "source": {"repo": "a/b"}})";
  const CurvesFile file = of_text(file_of(entry));
  ASSERT_EQ(file.curves.size(), 1U);
  EXPECT_EQ(file.curves[0].points.size(), 2U);
  ASSERT_EQ(file.unread.size(), 2U);
  EXPECT_EQ(file.unread[0].reason, "row 1: column 1 is NaN");
  EXPECT_EQ(file.unread[0].num_figures, 1U);
  EXPECT_EQ(file.unread[1].reason, "row 3: column 0 is 1e999, column 1 is -Infinity");
  // It excuses nothing else.
  EXPECT_NE(orrery::testing::problems_of(
                [&] { return of_text(file_of(orrery::testing::edited(entry, "\"n_gpus\": 8", "\"n_gpus\": NaN"))); }),
            "");
}

TEST(CollectiveCurves, LeaveOutTimesThatAreNone) {
  const CurvesFile file =
      of_text(file_of(R"({"op": "all_reduce", "gpu": "A100", "n_gpus": 8, "columns": ["size_B", "time_us"],
                  "data": [[8, 0], [16, 2.5]], "source": {"repo": "a/b"}})"));
  ASSERT_EQ(file.curves.size(), 1U);
  EXPECT_EQ(file.curves[0].points.size(), 1U);
  EXPECT_EQ(file.unread[0].reason, "no positive size and time among at least two devices");
}

}  // namespace
}  // namespace orrery::costmodel
