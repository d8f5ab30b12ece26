// SPDX-License-Identifier: Apache-2.0
#include "program/plan.h"

#include "base/json_reader.h"
#include "base/sha256.h"
#include "program/hf_config.h"
#include "tests/unit/base/test_folder.h"
#include "tests/unit/program/reading.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::edited;
using testing::problems_of;
using testing::repository_path;
using testing::repository_text;

Source source_of(const std::string& path) {
  Source source;
  source.path = path;
  source.content = repository_text(path);
  source.sha256 = sha256_hex(source.content);
  return source;
}

Plan deepseek_plan() {
  Plan plan;
  plan.model_source = source_of("catalog/models/deepseek-v3.json");
  plan.cluster_source = source_of("catalog/clusters/h800-2048.json");
  plan.calibration_source = {.path = "catalog/calibration/h800.json", .sha256 = sha256_hex(""), .content = ""};
  plan.model = read_model(repository_path(plan.model_source.path));
  plan.cluster = read_cluster(repository_path(plan.cluster_source.path), repository_path("catalog"));
  plan.batch = {.seq = 4096, .global_batch = 15360};
  plan.strategy.pp = 16;
  plan.strategy.ep = 64;
  plan.strategy.zero_dense = plan.strategy.zero_expert = 1;
  plan.strategy.stages = even_stages(61, 16, true, true);
  plan.strategy.stages[3].recompute = {RecomputeModule::full};
  plan.strategy.stages[3].num_recompute_layers = 2;
  plan.strategy.stages[4].recompute = {RecomputeModule::moe_act, RecomputeModule::mla_up_proj};
  plan.predictions = {{.tier = "closed", .step_time = seconds(9.5), .peak_memory = gib(70), .extrapolated = true},
                      {.tier = "simgrid",
                       .step_time = seconds(0.1) * 3.0,
                       .peak_memory = gib(70.1),
                       .step_time_80 = {{.low = seconds(0.25), .high = seconds(0.5)}},
                       .peak_memory_80 = {{.low = gib(70), .high = gib(80)}}}};
  plan.certificate = Certificate{.domain = {{.name = "ep", .domain = "1 2 4"}},
                                 .tiers = {{.name = "memory", .evaluated = 120, .rejected = 100}}};
  plan.provenance = {.version = "0.1.0", .seed = 7, .command = "orrery plan --out \"a b.json\""};
  return plan;
}

Plan read(const std::string& text) { return read_plan_text(text, "plan.json"); }

std::string problems_of_edit(const std::string& from, const std::string& to) {
  return problems_of([&] { return read(edited(to_json(deepseek_plan()), from, to)); });
}

/// "plan.json:LINE: " of the only line of the plan's text that contains `part`.
std::string at(const std::string& part) {
  const std::string text = to_json(deepseek_plan());
  const std::size_t place = text.find(part);
  EXPECT_NE(place, std::string::npos) << part;
  return "plan.json:" + std::to_string(1 + std::count(text.begin(), text.begin() + static_cast<long>(place), '\n')) +
         ": ";
}

TEST(Plan, IsReadBackAsItWasWritten) {
  const Plan plan = deepseek_plan();
  const Plan back = read(to_json(plan));
  EXPECT_EQ(back.strategy, plan.strategy);
  EXPECT_EQ(back.batch, plan.batch);
  EXPECT_EQ(back.model.name, "deepseek-v3");
  EXPECT_EQ(back.model.layers, plan.model.layers);
  EXPECT_EQ(back.cluster.name, "h800-2048");
  EXPECT_EQ(back.cluster.num_devices(), 2048);
  EXPECT_EQ(back.cluster.groups[0].device.memory, gib(79.19));
  EXPECT_EQ(back.model_source.sha256, plan.model_source.sha256);
  EXPECT_EQ(back.calibration_source.path, "catalog/calibration/h800.json");
  ASSERT_EQ(back.predictions.size(), 2);
  EXPECT_EQ(back.predictions[0].extrapolated, true);
  EXPECT_EQ(back.predictions[1].step_time, plan.predictions[1].step_time);
  EXPECT_FALSE(back.predictions[0].step_time_80 || back.predictions[0].peak_memory_80);
  EXPECT_EQ(back.predictions[1].step_time_80->low, seconds(0.25));
  EXPECT_EQ(back.predictions[1].step_time_80->high, seconds(0.5));
  EXPECT_EQ(back.predictions[1].peak_memory_80->low, gib(70));
  EXPECT_EQ(back.predictions[1].peak_memory_80->high, gib(80));
  EXPECT_EQ(back.certificate->tiers.at(0).rejected, 100);
  EXPECT_EQ(back.provenance.seed, 7);
  EXPECT_EQ(back.provenance.command, plan.provenance.command);
}

TEST(Plan, RoundTripsToTheSameText) {
  for (const LoadModel& load : std::vector<LoadModel>{BalancedLoad{}, DirichletLoad{.alpha = 0.3, .seed = 9},
                                                      ZipfLoad{.exponent = 1.25, .seed = 3}}) {
    Plan plan = deepseek_plan();
    plan.load = load;
    const std::string text = to_json(plan);
    EXPECT_EQ(to_json(read(text)), text);
  }
  Plan bare = deepseek_plan();
  bare.predictions.clear();
  bare.certificate.reset();
  bare.model_source.ignored_keys = {"attention_sinks"};
  for (int rank = 0; rank < 2048; ++rank) bare.device_of_rank.emplace_back(2047 - rank);
  const std::string text = to_json(bare);
  EXPECT_EQ(to_json(read(text)), text);
}

TEST(Plan, NamesWhoTrainsItOnlyWhereSomebodySaid) {
  Plan plan = deepseek_plan();
  EXPECT_EQ(to_json(plan).find("framework"), std::string::npos);
  plan.framework = "megatron";
  EXPECT_EQ(read_plan_text(to_json(plan), "plan.json").framework, "megatron");
}

TEST(Plan, SaysInWhichDetailItIsSimulatedOnlyWhereThatIsUnusual) {
  Plan plan = deepseek_plan();
  EXPECT_EQ(to_json(plan).find("fidelity"), std::string::npos);
  plan.fidelity = Fidelities(Fidelity::l1, {{OpCode::moe_dispatch, Fidelity::l3}});
  const std::string text = to_json(plan);
  EXPECT_EQ(read(text).fidelity, plan.fidelity);
  EXPECT_EQ(to_json(read(text)), text);
  EXPECT_EQ(hash_of(lower(read(text))), hash_of(lower(deepseek_plan())));
  EXPECT_EQ(problems_of([&] { return read(edited(text, "\"L3\"", "\"L4\"")); }),
            "plan.json:330: /fidelity/moe.dispatch: expected \"L0\", \"L1\", \"L2\" or \"L3\", got \"L4\"");
}

TEST(Plan, ReadsLoadsWithTheirParameters) {
  Plan plan = deepseek_plan();
  plan.load = DirichletLoad{.alpha = 0.3, .seed = 9};
  EXPECT_EQ(std::get<DirichletLoad>(read(to_json(plan)).load).alpha, 0.3);
  plan.load = ZipfLoad{.exponent = 1.25, .seed = 3};
  EXPECT_EQ(std::get<ZipfLoad>(read(to_json(plan)).load).seed, 3);
}

/// Every MoE layer of DeepSeek-V3 prefers its first expert.
PopularityLoad popularity_of_deepseek() {
  PopularityLoad load;
  for (std::int64_t layer = 3; layer < 61; ++layer) {
    load.layers[layer].assign(256, 1.0);
    load.layers[layer][0] = 2.5;
  }
  return load;
}

TEST(Plan, ReadsPopularities) {
  Plan plan = deepseek_plan();
  const PopularityLoad load = popularity_of_deepseek();
  plan.load = std::make_shared<const PopularityLoad>(load);
  const std::string text = to_json(plan);
  const Plan back = read(text);
  EXPECT_EQ(std::get<std::shared_ptr<const PopularityLoad>>(back.load)->layers, load.layers);
  EXPECT_EQ(to_json(back), text);
}

TEST(Plan, ReportsPopularitiesOfAnotherModel) {
  Plan plan = deepseek_plan();
  PopularityLoad load = popularity_of_deepseek();
  load.layers.erase(7);
  plan.load = std::make_shared<const PopularityLoad>(load);
  EXPECT_TRUE(problems_of([&] {
                return read(to_json(plan));
              }).ends_with("/workload/load: expected the popularity of 256 experts for layer 7, got 0"));
  EXPECT_EQ(problems_of_edit("\"load\": \"balanced\"", "\"load\": {\"kind\": \"popularity\", \"layers\": []}"),
            at("\"load\"") + "/workload/load/layers: expected at least one layer, got none\n" + at("\"load\"") +
                "/workload/load: expected the popularity of 256 experts for layer 3, got 0");
}

TEST(Plan, ReportsALayerThatIsThereTwice) {
  const std::string problems = problems_of_edit(
      "\"load\": \"balanced\"",
      R"("load": {"kind": "popularity", "layers": [{"layer": 3, "experts": [1]}, {"layer": 3, "experts": [1]}]})");
  EXPECT_TRUE(
      problems.starts_with(at("\"load\"") + "/workload/load/layers/1/layer: expected each layer once, got 3 again\n"))
      << problems;
}

TEST(Plan, HoldsTheDocumentsOfItsSequences) {
  Plan plan = deepseek_plan();
  EXPECT_TRUE(is_fixed(read(to_json(plan)).sequences));
  const HistogramLengths histogram{.documents = {{512, 0.75}, {8192, 0.25}}, .seed = 9};
  plan.sequences = histogram;
  const std::string text = to_json(plan);
  EXPECT_EQ(std::get<HistogramLengths>(read(text).sequences), histogram);
  EXPECT_EQ(to_json(read(text)), text);
}

TEST(Plan, WithoutAWordOnDocumentsHasSequencesOfOne) {
  const std::string text = edited(to_json(deepseek_plan()), "\"load\": \"balanced\",\n    \"sequences\": \"fixed\"",
                                  "\"load\": \"balanced\"");
  EXPECT_TRUE(is_fixed(read(text).sequences));
}

TEST(Plan, ReportsDocumentsThatDoNotFitItsSequences) {
  EXPECT_EQ(
      problems_of_edit("\"sequences\": \"fixed\"",
                       R"("sequences": {"schema": "sequence/1", "kind": "recorded", "sequences": [[4096], [4097]]})"),
      at("\"sequences\": \"fixed\"") +
          "/workload/sequences/sequences/1: expected documents of at most 4096 tokens together, the sequence of "
          "the workload");
  EXPECT_EQ(problems_of_edit("\"sequences\": \"fixed\"", "\"sequences\": \"even\""),
            at("\"sequences\": \"fixed\"") + "/workload/sequences: expected \"fixed\" or a sequence/1 object");
}

TEST(Plan, ReadsAModelWithTheKeysThatItsUserIgnored) {
  Plan plan = deepseek_plan();
  plan.model_source.content = edited(plan.model_source.content, "\"ep_size\"", "\"attention_sinks\": 1, \"ep_size\"");
  EXPECT_NE(problems_of([&] { return read(to_json(plan)); }), "");
  plan.model_source.ignored_keys = {"attention_sinks"};
  EXPECT_EQ(problems_of([&] { return read(to_json(plan)); }), "");
}

TEST(Plan, RunsOnTheNamedDevicesOrOnAll) {
  Plan plan = deepseek_plan();
  EXPECT_EQ(plan.num_ranks(), 2048);
  EXPECT_EQ(plan.device_of(RankId(5)), DeviceIndex(5));
  plan.device_of_rank = {DeviceIndex(3), DeviceIndex(1)};
  EXPECT_EQ(plan.num_ranks(), 2);
  EXPECT_EQ(plan.device_of(RankId(0)), DeviceIndex(3));
}

TEST(Plan, ReportsBrokenRulesOfItsParts) {
  EXPECT_EQ(problems_of_edit("\"ep\": 64", "\"ep\": 48"),
            at("\"ep\": 64") +
                "/strategy/ep: expected etp * ep * pp to be a divisor of 2048 (number of devices), got 768\n"
                "  hint: for ep, nearest divisors are 32 and 64\n" +
                at("\"ep\": 64") +
                "/strategy/ep: expected a divisor of 256 (number of experts), got 48\n"
                "  hint: nearest divisors are 32 and 64");
  EXPECT_EQ(problems_of_edit("\"global_batch\": 15360", "\"global_batch\": 15361"),
            at("\"global_batch\"") +
                "/workload/global_batch: expected a multiple of 128 (data-parallel ranks), got 15361\n"
                "  hint: nearest multiples are 15360 and 15488");
  EXPECT_EQ(problems_of_edit("\"schedule\": \"1f1b\"", "\"schedule\": \"zbv\""),
            at("\"schedule\": \"1f1b\"") +
                "/strategy/schedule: expected 2 chunks per rank, got 1\n"
                "  hint: \"zbv\" has no other order");
}

// Files of other kinds, and plans without their model: what is missing, and nothing that only follows from that.
TEST(Plan, ReportsWhatIsNoPlan) {
  std::string missing;
  for (const char* key :
       {"schema", "model", "cluster", "calibration", "workload", "strategy", "placement", "provenance"}) {
    missing +=
        std::string(missing.empty() ? "" : "\n") + "p.json:1: expected the key \"" + key + "\", which is missing";
  }
  EXPECT_EQ(problems_of([] { return read_plan_text("{}", "p.json"); }), missing);
  EXPECT_EQ(problems_of([] { return read_plan_text(R"({"schema": "strategy/1", "pp": 2})", "p.json"); }),
            "p.json:1: /schema: expected \"plan/1\", got \"strategy/1\"");
  const std::string without_model = problems_of([] {
    return read_plan_text(R"({"schema": "plan/1", "strategy": {"mtp": "on", "stages": "even", "recompute": "full"}})",
                          "p.json");
  });
  EXPECT_NE(without_model.find("expected the key \"model\", which is missing"), std::string::npos) << without_model;
  EXPECT_EQ(without_model.find("unknown key"), std::string::npos) << without_model;
}

TEST(Plan, ReportsProblemsOfAllPartsAtOnce) {
  std::string text = edited(to_json(deepseek_plan()), "\"num_experts_per_tok\": 8", "\"num_experts_per_tok\": 999");
  text = edited(text, "\"nodes_per_leaf\": 32", "\"nodes_per_leaf\": 0");
  text = edited(text, "\"load\": \"balanced\"", "\"load\": \"even\"");
  text = edited(text, "\"order\": \"tp-cp-ep-dp-pp\",\n    \"device", "\"order\": \"pp\",\n    \"device");
  EXPECT_EQ(problems_of([&] { return read(text); }),
            at("\"num_experts_per_tok\"") +
                "/model/content/num_experts_per_tok: expected at most 256 (n_routed_experts), got 999\n" +
                at("\"nodes_per_leaf\"") +
                "/cluster/content/fabric/nodes_per_leaf: expected an integer of at least 1, got 0\n" + at("\"load\"") +
                "/workload/load: expected \"balanced\" or an object with the kind of the load\n" +
                at("\"order\": \"tp-cp-ep-dp-pp\",\n    \"device") +
                "/placement/order: expected \"tp-cp-ep-dp-pp\", the order of the strategy");
}

TEST(Plan, ReportsLoadsThatAreNoAssumption) {
  EXPECT_EQ(
      problems_of_edit("\"load\": \"balanced\"", "\"load\": {\"kind\": \"recorded\", \"path\": \"a.trace\"}"),
      at("\"load\"") + "/workload/load/kind: expected \"dirichlet\", \"zipf\" or \"popularity\", got \"recorded\"");
  EXPECT_EQ(
      problems_of_edit("\"load\": \"balanced\"", "\"load\": {\"kind\": \"dirichlet\", \"alpha\": 0, \"seed\": 1}"),
      at("\"load\"") + "/workload/load/alpha: expected a number from 0.001 to 1000000, got 0");
}

TEST(Plan, ReportsBadPlacements) {
  const std::string from = "\"device_of_rank\": null", where = at(from);
  EXPECT_EQ(problems_of_edit(from, "\"device_of_rank\": []"),
            where + "/placement/device_of_rank: expected null or at least one device, got none");
  EXPECT_EQ(problems_of_edit(from, "\"device_of_rank\": [0, 0]"),
            where + "/placement/device_of_rank/1: expected a device of its own for each rank, got 0 again");
  EXPECT_EQ(problems_of_edit(from, "\"device_of_rank\": [2048]"),
            where + "/placement/device_of_rank/0: expected an integer from 0 to 2047, got 2048");
}

TEST(Plan, ReportsUnknownTiersAndHashes) {
  EXPECT_EQ(problems_of_edit("\"simgrid\": {", "\"simgrit\": {"),
            at("\"simgrid\": {") + "/predictions/simgrit: unknown key; did you mean \"simgrid\"?");
  EXPECT_EQ(problems_of_edit(sha256_hex(""), "12AB"),
            at(sha256_hex("")) + "/calibration/sha256: expected 64 hexadecimal digits, got \"12AB\"");
}

TEST(Plan, RefusesDevicesByNameAndSeveralGroups) {
  Plan plan = deepseek_plan();
  plan.cluster.groups.push_back(plan.cluster.groups[0]);
  plan.cluster.groups[1].name = "more";
  const std::string problems = problems_of([&] { return read(to_json(plan)); });
  EXPECT_TRUE(
      problems.ends_with("/cluster/content/groups: expected one group of nodes, got 2: steps over several "
                         "groups are not lowered yet"))
      << problems;
}

TEST(Plan, ReadsAFileAndNamesOneThatIsNotThere) {
  const std::string path = testing::own_path("plan.json");
  write_file_atomically(path, to_json(deepseek_plan()));
  EXPECT_EQ(read_plan(path).strategy.ep, 64);
  EXPECT_EQ(problems_of([] { return read_plan("no/plan.json"); }),
            "no/plan.json: expected a readable file, got: No such file or directory");
}

/// Experts 0 and 255 of layer 3 change places.
Plan placed_plan() {
  Plan plan = deepseek_plan();
  std::vector<std::int32_t>& experts = plan.experts.layers[3];
  for (std::int32_t expert = 0; expert < 256; ++expert) experts.push_back(expert);
  std::swap(experts.front(), experts.back());
  return plan;
}

TEST(Plan, SaysWhichRankHasWhichExperts) {
  const Plan plan = placed_plan(), back = read(to_json(plan));
  EXPECT_EQ(back.experts, plan.experts);
  EXPECT_EQ(to_json(back), to_json(plan));
  EXPECT_EQ(to_json(deepseek_plan()).find("experts\": [\n"), std::string::npos);
  EXPECT_NE(hash_of(lower(back)), hash_of(lower(deepseek_plan())));
}

TEST(Plan, RefusesExpertsWhereThereAreNone) {
  Plan plan = placed_plan();
  plan.experts.layers[0] = plan.experts.layers[3];  // a dense layer
  const std::string message = problems_of([&] { return read(to_json(plan)); });
  EXPECT_NE(message.find(": /placement/experts: expected layers with experts, got layer 0"), std::string::npos);
  const std::string twice = problems_of([&] { return read(edited(to_json(placed_plan()), "[255, 1,", "[1, 1,")); });
  EXPECT_NE(twice.find("/placement/experts/0/ranks/0/1: expected each expert on one rank, got 1 again"),
            std::string::npos);
}

}  // namespace
}  // namespace orrery
