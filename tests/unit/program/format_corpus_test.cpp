// SPDX-License-Identifier: Apache-2.0
// Good and bad files of tests/data/schemas through the readers. A JSON Schema validator judges the same files by the
// same table.
#include "base/json_reader.h"
#include "program/disturbances.h"
#include "program/hf_config.h"
#include "program/json_parts.h"
#include "program/plan.h"
#include "program/sequence_json.h"
#include "tests/unit/program/reading.h"

#include <set>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::repository_path;

void read_as(const std::string& schema, const std::string& path) {
  if (schema == "cluster/1") {
    read_cluster(path, repository_path("catalog"));
  } else if (schema == "device/1") {
    const JsonDocument document = JsonDocument::parse_file(path);
    read_device(document.root());
    document.throw_if_problems();
  } else if (schema == "model/1") {
    read_model(path);
  } else if (schema == "strategy/1") {
    read_strategy(path, read_model(repository_path("catalog/models/deepseek-v3.json")));
  } else if (schema == "sequence/1") {
    read_sequences(path);
  } else if (schema == "disturbances/1") {
    read_disturbances(path);
  } else {
    read_plan(path);
  }
}

/// A missing key is reported at its object, a wrong quantity at its value.
bool same_place(const std::string& expected, const std::string& got) {
  return expected.starts_with(got) || got.starts_with(expected);
}

TEST(FormatCorpus, IsJudgedAsItsTableSays) {
  const std::filesystem::path folder = repository_path("tests/data/schemas");
  const JsonDocument table = JsonDocument::parse_file((folder / "expectations.json").string());
  const std::set<std::string> own = {"cluster/1",  "device/1",       "model/1", "strategy/1",
                                     "sequence/1", "disturbances/1", "plan/1"};
  int num_judged = 0;
  for (const JsonValue& value : table.root().required("files").array()) {
    const JsonObject row = value.object();
    const std::string schema = row.required("schema").string(), file = row.required("file").string();
    if (!own.contains(schema)) continue;
    SCOPED_TRACE(file);
    ++num_judged;
    const bool valid = row.required("valid").boolean();
    try {
      read_as(schema, (folder / file).string());
      EXPECT_TRUE(valid);
    } catch (const ConfigError& error) {
      EXPECT_FALSE(valid) << error.what();
      const std::string pointer = row.optional("pointer").string().value_or("");
      for (const Problem& problem : error.problems()) {
        EXPECT_TRUE(same_place(pointer, problem.pointer)) << to_text(problem);
        EXPECT_GT(problem.line, 0);
      }
    }
  }
  EXPECT_GT(num_judged, 70);
}

}  // namespace
}  // namespace orrery
