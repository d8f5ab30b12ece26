// SPDX-License-Identifier: Apache-2.0
#include "program/hf_config.h"
#include "program/plan.h"
#include "program/strategy_check.h"
#include "tests/unit/base/test_folder.h"
#include "tests/unit/program/reading.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::problems_of;
using testing::repository_path;
using ::testing::StartsWith;

constexpr BatchShape kBatch{.seq = 4096, .global_batch = 16384};

class StrategyReader : public ::testing::Test {
 protected:
  Strategy read(const std::string& text) const { return read_strategy_text(text, "s.json", model_, kBatch, 2048); }
  std::string problems(const std::string& text) const {
    return problems_of([&] { return read(text); });
  }
  std::string problems_of_keys(const std::string& keys) const {
    return problems("{\n\"schema\": \"strategy/1\",\n" + keys + "\n}");
  }

  Model model_ = read_model(repository_path("catalog/models/deepseek-v3.json"));
};

TEST_F(StrategyReader, TakesThePlainChoiceOfEachDimensionByDefault) {
  Strategy expected;
  expected.stages = even_stages(61, 1);
  EXPECT_EQ(read(R"({"schema": "strategy/1"})"), expected);
}

TEST_F(StrategyReader, ReadsEveryKey) {
  const Strategy strategy = read(R"({"schema": "strategy/1", "tp": 1, "sp": false, "pp": 4, "vpp": 1, "cp": 1,
    "cp_kind": "ulysses", "ep": 64, "etp": 1, "dp": 512, "zero_dense": 1, "zero_expert": 1, "micro_batch": 2,
    "num_optimizer_instances": 1, "schedule": "gpipe", "stages": "even", "recompute": ["moe_act", "mla_up_proj"],
    "dispatcher": "all_to_all", "capacity_factor": null, "overlap": {"tp": false}, "cuda_graphs": false,
    "offload_optimizer": false, "offload_activations": false, "precision": "f32", "fp8_recipe": "mxfp8",
    "fp8_activation_input": true, "optimizer": "adamw", "master_dtype": "f32", "moment_dtype": "f32", "grad_dtype": "f32", "grad_wire_dtype": "f32", "mtp": "off",
    "order": "tp-cp-ep-dp-pp"})");
  Strategy expected;
  expected.pp = 4;
  expected.cp_kind = ContextParallel::ulysses;
  expected.ep = 64;
  expected.zero_dense = expected.zero_expert = 1;
  expected.micro_batch = 2;
  expected.schedule = Schedule::gpipe;
  expected.precision = DType::f32;
  expected.fp8_recipe = Fp8Recipe::mxfp8;
  expected.fp8_activation_input = true;
  expected.stages = even_stages(61, 4);
  for (StageLayout& stage : expected.stages) {
    stage.recompute = {RecomputeModule::moe_act, RecomputeModule::mla_up_proj};
  }
  EXPECT_EQ(strategy, expected);
}

TEST_F(StrategyReader, ReadsStagesOneByOne) {
  const Strategy strategy = read(R"({"schema": "strategy/1", "pp": 2, "stages": [
    {"first_layer": 0, "num_layers": 20, "embedding": true, "recompute": "full", "recompute_layers": 3},
    {"first_layer": 20, "num_layers": 41, "head": true, "recompute": ["layernorm"]}]})");
  ASSERT_EQ(strategy.stages.size(), 2);
  EXPECT_EQ(strategy.stages[0], (StageLayout{.first_layer = 0,
                                             .num_layers = 20,
                                             .embedding = true,
                                             .head = false,
                                             .recompute = {RecomputeModule::full},
                                             .num_recompute_layers = 3}));
  EXPECT_EQ(strategy.stages[1].recompute, std::set{RecomputeModule::layernorm});
}

TEST_F(StrategyReader, ReportsBrokenRulesAtTheirLines) {
  EXPECT_EQ(problems_of_keys("\"pp\": 16,\n\"ep\": 48,\n\"micro_batch\": 7"),
            "s.json:4: /ep: expected etp * ep * pp to be a divisor of 2048 (number of devices), got 768\n"
            "  hint: for ep, nearest divisors are 32 and 64\n"
            "s.json:4: /ep: expected a divisor of 256 (number of experts), got 48\n"
            "  hint: nearest divisors are 32 and 64\n"
            "s.json:5: /micro_batch: expected a divisor of 128 (sequences of each data-parallel rank), got 7\n"
            "  hint: nearest divisors are 4 and 8");
}

TEST_F(StrategyReader, ReadsALayoutText) {
  const Strategy strategy = read(R"({"schema": "strategy/1", "pp": 16, "vpp": 2, "schedule": "interleaved", "ep": 64,
    "stages": "Et*3|(tt|)*29m|L", "recompute": ["moe_act"], "mtp": "on"})");
  ASSERT_EQ(strategy.stages.size(), 32);
  EXPECT_EQ(
      strategy.stages[0],
      (StageLayout{.first_layer = 0, .num_layers = 3, .embedding = true, .recompute = {RecomputeModule::moe_act}}));
  EXPECT_EQ(strategy.stages[30],
            (StageLayout{.first_layer = 61, .num_layers = 0, .num_mtp = 1, .recompute = {RecomputeModule::moe_act}}));
  EXPECT_EQ(strategy.stages[31],
            (StageLayout{.first_layer = 61, .num_layers = 0, .head = true, .recompute = {RecomputeModule::moe_act}}));
}

TEST_F(StrategyReader, ReadsPredictionModules) {
  const auto modules = [&](const std::string& keys) {
    std::vector<std::int64_t> counts;
    for (const StageLayout& stage : read(R"({"schema": "strategy/1", "pp": 2, )" + keys + "}").stages) {
      counts.push_back(stage.num_mtp);
    }
    return counts;
  };
  using Counts = std::vector<std::int64_t>;
  EXPECT_EQ(modules(R"("mtp": "off")"), (Counts{0, 0}));
  EXPECT_EQ(modules(R"("mtp": "on")"), (Counts{0, 1}));
  EXPECT_EQ(modules(R"("mtp": "on", "stages": "Et*60|tL")"), (Counts{0, 1})) << "with the head, unless it is said";
  EXPECT_EQ(modules(R"("mtp": "on", "stages": [{"first_layer": 0, "num_layers": 61, "embedding": true, "mtp": 1},
    {"first_layer": 61, "num_layers": 0, "head": true}])"),
            (Counts{1, 0}));
}

TEST_F(StrategyReader, ReportsALayoutTextWithTheCharacter) {
  const std::string hint =
      "\n  hint: a layout is E for the embedding, t for a layer, m for a prediction module and L for the head, with | "
      "between stages: \"Et|(tt|)*6tL\"";
  EXPECT_EQ(problems_of_keys("\"stages\": \"Et|xL\""),
            "s.json:3: /stages: expected \"even\", a list of stages or a layout: at character 4 expected E, t, m, L, | "
            "or a group, got \"x\"" +
                hint);
  EXPECT_EQ(problems_of_keys("\"stages\": 4"),
            "s.json:3: /stages: expected \"even\", a layout such as \"Et|(tt|)*6tL\", or an array of stages");
}

TEST_F(StrategyReader, ReportsBrokenRulesOfALayoutTextAtTheText) {
  EXPECT_EQ(problems_of_keys("\"pp\": 3,\n\"stages\": \"Et*30||t*31L\""),
            "s.json:3: /pp: expected tp * cp * pp to be a divisor of 2048 (number of devices), got 3\n"
            "  hint: for pp, nearest divisors are 2 and 4\n"
            "s.json:3: /pp: expected etp * ep * pp to be a divisor of 2048 (number of devices), got 3\n"
            "  hint: for pp, nearest divisors are 2 and 4");
  EXPECT_EQ(problems_of_keys("\"pp\": 2,\n\"stages\": \"Et*30|t*30L\""),
            "s.json:4: /stages: expected stages up to layer 60, the last of the model, got 59");
  EXPECT_EQ(problems_of_keys("\"pp\": 2,\n\"stages\": \"Et*30|t*31mL\""),
            "s.json:4: /stages: 1/mtp: expected 0, or all 0 modules on one stage with or behind the last layer, got 1\n"
            "s.json:4: /stages: expected 0 prediction modules (mtp \"off\"), got 1");
}

TEST_F(StrategyReader, ReportsValuesThatCannotBeLowered) {
  EXPECT_EQ(read(R"({"schema": "strategy/1", "order": "pp-tp-cp-ep-dp"})").order, "pp-tp-cp-ep-dp");
  EXPECT_EQ(problems_of_keys("\"order\": \"cp-tp-ep-dp-pp\""),
            "s.json:3: /order: expected one of tp-cp-ep-dp-pp, tp-cp-ep-pp-dp, tp-cp-pp-ep-dp, tp-pp-cp-ep-dp, "
            "pp-tp-cp-ep-dp, tp-cp-dp-ep-pp, got \"cp-tp-ep-dp-pp\"");
  EXPECT_EQ(problems_of_keys("\"islands\": []"),
            "s.json:3: /islands: expected no islands: a strategy with parts of its own per node group is not lowered "
            "yet");
}

TEST_F(StrategyReader, ReportsBrokenRulesOfAStageAtTheStage) {
  EXPECT_EQ(problems(R"({"schema": "strategy/1", "pp": 2, "stages": [
    {"first_layer": 0, "num_layers": 20, "embedding": true},
    {"first_layer": 21, "num_layers": 40,
     "recompute": ["moe", "moe_act"]}]})"),
            "s.json:3: /stages/1/first_layer: expected 20 (layers in order, each once), got 21\n"
            "s.json:3: /stages/1: head: expected true, since the last stage has it, got false\n"
            "s.json:4: /stages/1/recompute: expected no moe_act: moe recomputes it already");
}

TEST_F(StrategyReader, ReportsAShorthandForAllStagesOnce) {
  EXPECT_EQ(problems_of_keys("\"pp\": 4,\n\"recompute\": [\"full\", \"moe\"]"),
            "s.json:4: /recompute: expected no moe: full recomputes it already");
}

TEST_F(StrategyReader, ReportsMisspeltAndDuplicateNames) {
  EXPECT_EQ(problems_of_keys("\"recompute\": [\"mla_up\"]"),
            "s.json:3: /recompute/0: expected \"layernorm\", \"core_attn\", \"mla_up_proj\", \"mlp\", \"moe\", "
            "\"moe_act\", \"shared_experts\" or \"full\", got \"mla_up\"");
  EXPECT_EQ(problems_of_keys("\"recompute\": [\"moe\", \"moe\"]"),
            "s.json:3: /recompute/1: expected each module once, got \"moe\" again");
  EXPECT_EQ(problems_of_keys("\"recompute\": \"some\""), "s.json:3: /recompute: expected \"full\", got \"some\"");
}

TEST_F(StrategyReader, WantsRecomputeInListedStages) {
  EXPECT_EQ(problems_of_keys("\"recompute\": \"full\",\n\"stages\": [{\"first_layer\": 0, \"num_layers\": 61, "
                             "\"embedding\": true, \"head\": true}]"),
            "s.json:3: /recompute: expected recompute in each stage, since stages are listed");
}

TEST_F(StrategyReader, NeedsALayerForEachStage) {
  EXPECT_EQ(problems_of_keys("\"pp\": 64"),
            "s.json:3: /pp: expected at most 63 stages (pp * vpp), one for each layer, for the embedding and for the "
            "head, got 64");
}

TEST_F(StrategyReader, ChecksTheDerivedDegreeIfItIsStated) {
  EXPECT_EQ(problems_of_keys("\"pp\": 16,\n\"dp\": 64"),
            "s.json:4: /dp: expected 128 (devices / (tp * cp * pp)), got 64\n"
            "  hint: dp follows from the rest: leave it out");
}

TEST_F(StrategyReader, ListsWhatACheckFindsInOneGo) {
  const std::filesystem::path path = orrery::testing::own_path("strategy.json");
  const auto broken = [&](const std::string& keys) {
    write_file_atomically(path.string(), "{\"schema\": \"strategy/1\", " + keys + "}");
    std::vector<std::string> out;
    for (const Violation& v : check_strategy(path, model_, kBatch, 2048).broken)
      out.push_back(v.key + " " + v.expected);
    return out;
  };
  EXPECT_THAT(broken("\"pp\": 16, \"dp\": 128"), IsEmpty());
  EXPECT_THAT(broken("\"pp\": 16, \"dp\": 64"), ElementsAre("dp expected 128 (devices / (tp * cp * pp)), got 64"));
  EXPECT_THAT(broken("\"pp\": 64, \"ep\": 3"),
              ElementsAre("pp expected etp * ep * pp to be a divisor of 2048 (number of devices), got 192",
                          "ep expected a divisor of 256 (number of experts), got 3",
                          "pp expected at most 63 stages (pp * vpp), one for each layer, for the embedding and for the "
                          "head, got 64"));
  EXPECT_THAT(broken("\"vpp\": 100"), Contains(StartsWith("vpp expected at most 63 stages (pp * vpp)")));
  // No number of replicas follows from degrees that leave none.
  EXPECT_THAT(broken("\"pp\": 3, \"dp\": 64"), Not(Contains(StartsWith("dp "))));
  write_file_atomically(path.string(), R"({"schema": "strategy/1", "pp": 64, "dp": "two"})");
  EXPECT_EQ(problems_of([&] { return check_strategy(path, model_, kBatch, 2048).strategy; }),
            path.string() + ":1: /dp: expected an integer from 1 to 1048576, got \"two\"");
}

TEST_F(StrategyReader, SaysWhichDefaultBreaksARule) {
  const std::string text = R"({"schema": "strategy/1", "ep": 3})";
  EXPECT_EQ(problems_of([&] { return read_strategy_text(text, "s.json", model_, {.seq = 8, .global_batch = 7}, 12); }),
            "s.json:1: /ep: expected a divisor of 256 (number of experts), got 3\n"
            "  hint: nearest divisors are 2 and 4\n"
            "s.json:1: global_batch: expected a multiple of 12 (data-parallel ranks), got 7\n"
            "  hint: nearest multiple is 12");
}

TEST_F(StrategyReader, ReadsAFileWithAndWithoutTheRules) {
  const std::filesystem::path path = orrery::testing::own_path("strategy.json");
  write_file_atomically(path.string(), R"({"schema": "strategy/1", "tp": 8})");
  EXPECT_EQ(read_strategy(path, model_).tp, 8);
  EXPECT_EQ(problems_of([&] { return read_strategy(path, model_, kBatch, 2048); }),
            path.string() + ":1: sp: expected true, since tp is above 1 and the model has experts, got false");
  EXPECT_EQ(problems_of([&] { return read_strategy("no/strategy.json", model_); }),
            "no/strategy.json: expected a readable file, got: No such file or directory");
}

}  // namespace
}  // namespace orrery
