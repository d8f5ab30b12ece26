// SPDX-License-Identifier: Apache-2.0
#include "cli/report.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

TEST(Report, AlignsFactsForPeople) {
  Report report("Fit");
  report.fact("parameters", "parameters", std::int64_t{671026419200}).fact("fits", "it fits", true);
  EXPECT_EQ(report.text(),
            "Fit\n"
            "---\n"
            "  parameters  671,026,419,200\n"
            "  it fits     yes\n");
}

TEST(Report, WritesTheSameForMachines) {
  Report report("Fit");
  report.fact("parameters", "parameters", 671026419200).fact("fits", "it fits", true);
  report.fact("step_time", "step time", milliseconds(1.5)).fact("mfu", "MFU", Value::percent(0.389));
  report.fact("energy", "energy", Value::unknown("no counter"));
  EXPECT_EQ(report.json(),
            "{\n"
            "  \"parameters\": 671026419200,\n"
            "  \"fits\": true,\n"
            "  \"step_time\": \"1.5 ms\",\n"
            "  \"mfu\": 0.389,\n"
            "  \"energy\": null,\n"
            "  \"notes\": []\n"
            "}\n");
}

TEST(Report, AlignsNumbersToTheRightAndTextToTheLeft) {
  Table table{.columns = {{"name", "name"}, {"time", "time"}, {"error", "error"}}, .rows = {}};
  table.rows.push_back({"attn.core", seconds(2), Value::error(0.5)});
  table.rows.push_back({"fc1", milliseconds(10), Value::error(std::nan(""))});
  Report report;
  report.table("ops", "Ops", table);
  EXPECT_EQ(report.text(),
            "Ops:\n"
            "  name          time    error\n"
            "  attn.core   2.00 s  +50.0 %\n"
            "  fc1        10.0 ms        -\n");
}

TEST(Report, WritesTablesAsListsOfObjects) {
  Report report;
  report.table("ops", "Ops", {.columns = {{"op", "op"}, {"error", "error"}}, .rows = {{"a", Value::error(-0.25)}}});
  EXPECT_EQ(report.json(),
            "{\n"
            "  \"ops\": [\n"
            "    {\n"
            "      \"op\": \"a\",\n"
            "      \"error\": -0.25\n"
            "    }\n"
            "  ],\n"
            "  \"notes\": []\n"
            "}\n");
}

TEST(Report, PeopleGetTheFirstOfALongListAndMachinesAll) {
  std::string values = "layernorm";
  for (int i = 1; i < 30; ++i) values += "+moe layernorm";
  Report report;
  report.fact("short", "short", Value::list("1 2 4")).fact("long", "long", Value::list(values));
  EXPECT_EQ(
      report.text(),
      "  short  1 2 4\n"
      "  long   layernorm+moe layernorm+moe layernorm+moe layernorm+moe layernorm+moe layernorm+moe layernorm+moe "
      "... (30 in all)\n");
  EXPECT_NE(report.json().find("\"long\": \"" + values + "\""), std::string::npos);
}

TEST(Report, NestsSectionsAndSaysEachNoteOnce) {
  Report inner("Inner");
  inner.fact("x", "x", 1).note("mtp is off").note("mtp is off");
  Report outer;
  outer.section("inner", inner);
  EXPECT_EQ(outer.text(),
            "Inner\n"
            "-----\n"
            "  x  1\n"
            "\n"
            "  note: mtp is off\n");
  EXPECT_NE(outer.json().find("\"inner\": {"), std::string::npos);
}

TEST(Value, HasNoNumberWhereThereIsNone) {
  EXPECT_EQ(Value(std::nan("")).text(), "unknown");
  EXPECT_EQ(Value::percent(std::nan("")).text(), "unknown");
  EXPECT_EQ(Value::error(std::nan("")).text(), "-");
}

TEST(Value, WritesCountsWithSeparatorsAndSmallNumbersShort) {
  EXPECT_EQ(Value(-1234567).text(), "-1,234,567");
  EXPECT_EQ(Value(999).text(), "999");
  EXPECT_EQ(Value(2132281.4).text(), "2,132,281");
  EXPECT_EQ(Value(5.64123).text(), "5.641");
  EXPECT_EQ(Value::percent(0.2634).text(), "26.3 %");
  EXPECT_EQ(Value::error(-0.156).text(), "-15.6 %");
}

}  // namespace
}  // namespace orrery::cli
