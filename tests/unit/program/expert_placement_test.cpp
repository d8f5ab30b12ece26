// SPDX-License-Identifier: Apache-2.0
// Experts and positions: the bridge, its file, and what the rows of a rank make of it.
#include "program/expert_placement.h"

#include "base/json_reader.h"
#include "program/arrivals.h"
#include "program/local_parameters.h"
#include "program/lower.h"
#include "tests/unit/base/test_folder.h"
#include "tests/unit/program/reading.h"
#include "tests/unit/program/small_models.h"

#include <fstream>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::small_moe;
using testing::small_strategy;

const std::vector<std::int32_t> kOrder = {7, 2, 0, 1, 3, 4, 5, 6};

ExpertPlacement placement_of_layer_2() { return {.layers = {{2, kOrder}}}; }

/// Expert e has weight e + 1 in every layer.
LoadModel rising_load() {
  PopularityLoad load;
  for (std::int64_t layer = 0; layer < 4; ++layer) load.layers[layer] = {1, 2, 3, 4, 5, 6, 7, 8};
  return std::make_shared<const PopularityLoad>(load);
}

TEST(ExpertPlacement, HasAnExpertAtEachPositionAndBack) {
  const ExpertPlacement placement = placement_of_layer_2();
  EXPECT_EQ(placement.expert_at(2, 0), 7);
  EXPECT_EQ(placement.expert_at(1, 5), 5);  // a layer that it does not speak of
  const std::vector<std::int32_t> positions = placement.positions(2, 8);
  for (std::int32_t at = 0; at < 8; ++at) EXPECT_EQ(positions[static_cast<std::size_t>(kOrder.at(at))], at);
}

TEST(ExpertPlacement, MovesTheColumnsOfARouting) {
  const RoutingQuery query{.layer = 2, .group = 4, .num_experts = 8, .pairs_per_rank = 36};
  const RoutingMatrix placed = placed_routing(rising_load(), placement_of_layer_2(), query);
  EXPECT_EQ(placed.received(0), 4 * (8 + 3));
  EXPECT_EQ(placed.received(3), 4 * (6 + 7));
  EXPECT_EQ(placed.per_local_expert(1), (std::vector<double>{4 * 1, 4 * 2}));
  EXPECT_EQ(placed_routing(rising_load(), placement_of_layer_2(), {1, 0, 0, 4, 8, 36}).received(0), 4 * 3);
}

TEST(ExpertPlacement, DecidesRowsThatArriveAndTheFullestRank) {
  const Model model = small_moe();
  StepProgram program = lower(model, small_strategy(model, 1, 4), {.seq = 72, .global_batch = 4}, 4);
  const auto received = [&](std::int64_t layer) {
    const RankId first(0);
    const Arrivals arrivals = arrivals_of(program, {&first, 1}, rising_load()).front();
    return arrivals.rows_of({.layer = static_cast<std::int16_t>(layer), .rows = {Rows::Kind::received, 144}});
  };
  EXPECT_EQ(received(2), 4 * 144 * 3.0 / 36.0);
  const std::string hash = hash_of(program);
  program.experts = placement_of_layer_2();
  EXPECT_EQ(received(2), 4 * 144 * 11.0 / 36.0);
  EXPECT_EQ(received(1), 4 * 144 * 3.0 / 36.0);
  EXPECT_NE(hash_of(program), hash);
  // The last rank is the fullest of all layers without it: 15 of 36.
  EXPECT_NEAR(FullestShare(model, rising_load()).of(program.strategy), 4 * 15.0 / 36.0, 1e-9);
  const double placed = FullestShare(model, rising_load(), program.experts).of(program.strategy);
  EXPECT_NEAR(placed, 4 * (15.0 + 13.0 + 15.0) / 3.0 / 36.0, 1e-9);
}

TEST(ExpertPlacement, NamesTheWeightsOfARank) {
  const Model model = small_moe();
  StepProgram program = lower(model, small_strategy(model, 1, 4), {.seq = 72, .global_batch = 4}, 4);
  program.experts = placement_of_layer_2();
  std::vector<std::string> names;
  for (const LocalParameter& p : local_parameters(program, RankId(1))) {
    if (p.whole.role == WeightRole::expert_fc1) names.push_back(name_of(p.whole));
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"layers.1.experts.2.fc1", "layers.1.experts.3.fc1", "layers.2.experts.0.fc1",
                                      "layers.2.experts.1.fc1", "layers.3.experts.2.fc1", "layers.3.experts.3.fc1"}));
}

TEST(PlacementFile, ComesBack) {
  const PlacementFile file{
      .model = "small-moe", .num_experts = 3, .ep = 2, .placement = {.layers = {{1, {0, 1, 2, 1}}, {3, {2, 1, 0, 2}}}}};
  const std::string path = testing::own_path("placement.json");
  std::ofstream(path) << to_json(file);
  const PlacementFile back = read_placement(path);
  EXPECT_EQ(back.model, "small-moe");
  EXPECT_EQ(back.num_experts, 3);
  EXPECT_EQ(back.ep, 2);
  EXPECT_EQ(back.placement, file.placement);
}

TEST(PlacementFile, IsJudgedAsItsTableSays) {
  const auto folder = testing::repository_path("tests/data/schemas");
  const JsonDocument table = JsonDocument::parse_file((folder / "expectations.json").string());
  int num_judged = 0;
  for (const JsonValue& value : table.root().required("files").array()) {
    const JsonObject row = value.object();
    if (row.required("schema").string() != "placement/1") continue;
    const std::string file = row.required("file").string(), pointer = row.optional("pointer").string().value_or("");
    SCOPED_TRACE(file);
    ++num_judged;
    try {
      read_placement((folder / file).string());
      EXPECT_TRUE(row.required("valid").boolean());
    } catch (const ConfigError& error) {
      EXPECT_FALSE(row.required("valid").boolean()) << error.what();
      for (const Problem& problem : error.problems()) EXPECT_EQ(problem.pointer, pointer);
    }
  }
  EXPECT_EQ(num_judged, 6);
}

TEST(PlacementFile, SaysWhatAReaderOfExpertsDemands) {
  const auto problems = [](const std::string& text, bool once) {
    return testing::problems_of([&] {
      const JsonDocument document = JsonDocument::parse_text("{\"a\": " + text + "}", "p.json");
      read_layers(document.root().required("a"), {.num_experts = 4, .ep = 2, .once = once});
      document.throw_if_problems();
      return 0;
    });
  };
  EXPECT_EQ(problems(R"([{"layer": 1, "ranks": [[0, 1], [2, 3]]}])", true), "");
  EXPECT_EQ(problems(R"([{"layer": 1, "ranks": [[0, 1, 2], [2, 3, 1]]}])", false), "");
  EXPECT_EQ(problems(R"([{"layer": 1, "ranks": [[0, 1], [1, 3]]}])", true),
            "p.json:1: /a/0/ranks/1/0: expected each expert on one rank, got 1 again\n"
            "p.json:1: /a/0/ranks: expected every expert on a rank, got none for expert 2");
  EXPECT_EQ(problems(R"([{"layer": 1, "ranks": [[0, 1], [2, 3], []]}])", true),
            "p.json:1: /a/0/ranks: expected the experts of 2 ranks, got those of 3\n"
            "p.json:1: /a/0/ranks/2: expected 2 experts as on the first rank, got 0");
  EXPECT_EQ(problems(R"([{"layer": 1, "ranks": [[0, 1], [2, 3]]}, {"layer": 1, "ranks": [[0, 1], [2, 3]]}])", true),
            "p.json:1: /a/1/layer: expected each layer once, got 1 again");
  EXPECT_EQ(problems("[]", true), "p.json:1: /a: expected at least one layer, got none");
}

}  // namespace
}  // namespace orrery
