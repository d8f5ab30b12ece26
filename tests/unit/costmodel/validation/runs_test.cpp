// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/runs.h"

#include "base/json_reader.h"
#include "tests/unit/program/reading.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

using testing::edited;
using testing::problems_of;
using testing::repository_path;

/// The smallest file: one model, one run.
const std::string kSmall = R"({
"schema": "runs/1",
"about": "one run",
"models": {"tiny": {"type": "dense", "layers": 2, "hidden": 64, "ffn": 128, "heads": 4, "vocab": 256}},
"runs": [
{"id": "a", "group": "g", "kind": "dense", "model": "tiny", "task": "pretrain", "gpu": "B200", "gpus": 8,
"software": "Megatron-LM", "precision": "bf16", "seq": 512, "global_batch": 16, "micro_batch": 2,
"tp": 1, "pp": 2, "dp": 4, "recompute": ["moe_act"], "recompute_known": true,
"measured": {"step_s": 1.5, "mem_alloc_gib": 10},
"source": {"repo": "r", "path": "p"}, "flags": []}
]
})";

RunsFile read(const std::string& text) { return read_runs_text(text, "runs.json"); }

std::string problems(const std::string& from, const std::string& to) {
  return problems_of([&] { return read(edited(kSmall, from, to)); });
}

const PublishedRun& run_of(const RunsFile& file, const std::string& id) {
  const auto found =
      std::find_if(file.runs.begin(), file.runs.end(), [&](const PublishedRun& run) { return run.id == id; });
  EXPECT_NE(found, file.runs.end()) << id;
  return *found;
}

TEST(Runs, SayWhatTheirSourceSaysAndNothingMore) {
  const RunsFile file = read(kSmall);
  ASSERT_EQ(file.runs.size(), 1u);
  const PublishedRun& run = file.runs.front();
  EXPECT_EQ(run.id, "a");
  EXPECT_FALSE(run.is_moe);
  EXPECT_EQ(run.num_gpus, 8);
  EXPECT_EQ(run.pp, 2);
  EXPECT_EQ(run.recompute, std::vector<std::string>{"moe_act"});
  EXPECT_EQ(run.measured.step, seconds(1.5));
  EXPECT_EQ(run.measured.allocated_peak, gib(10));
  EXPECT_FALSE(run.vpp || run.cp || run.ep || run.etp || run.zero || run.schedule || run.gpus_per_node);
  EXPECT_FALSE(run.measured.reserved_peak || run.measured.allocated_in_update || run.measured.out_of_memory);
}

TEST(Runs, ANumberThatIsNotFiniteBreaksItsRowAlone) {
  const std::string more = R"("flags": []},
{"id": "b", "group": "h", "kind": "moe", "gpu": "H100", "measured": {"step_s": NaN}, "tp": -Infinity}])";
  const RunsFile file = read(edited(kSmall, "\"flags\": []}\n]", more));
  ASSERT_EQ(file.runs.size(), 1u);
  ASSERT_EQ(file.broken.size(), 1u);
  const BrokenRun& run = file.broken.front();
  EXPECT_EQ(run.id, "b");
  EXPECT_EQ(run.group, "h");
  EXPECT_EQ(run.gpu, "H100");
  EXPECT_TRUE(run.is_moe);
  EXPECT_FALSE(run.out_of_memory);
  EXPECT_EQ(run.reason, "measured/step_s is NaN, tp is -Infinity");
}

TEST(Runs, AFigureThatNobodyCanMeasureBreaksItsRowAlone) {
  const auto reason_of = [](const std::string& measured) {
    const RunsFile file = read(edited(kSmall, R"("step_s": 1.5, "mem_alloc_gib": 10)", measured));
    EXPECT_EQ(file.runs.size() + file.broken.size(), 1u);
    return file.broken.empty() ? "" : file.broken.front().id + ": " + file.broken.front().reason;
  };
  constexpr const char* kStep = "a: measured/step_s: expected a number from 1e-05 to 1000000, got ";
  for (const char* value : {"0", "0.0", "-1.5", "1e-300", "1e300", "\"fast\"", "null", "true"}) {
    EXPECT_EQ(reason_of(std::string("\"step_s\": ") + value), std::string(kStep) + value);
  }
  EXPECT_EQ(reason_of("\"step_s\": 1e999"), "a: measured/step_s is 1e999");
  EXPECT_EQ(reason_of("\"tokens_per_s_per_gpu\": 0"),
            "a: measured/tokens_per_s_per_gpu: expected a number from 0.001 to 1000000000, got 0");
  for (const char* key : {"mem_alloc_gib", "mem_gib", "mem_alloc_gb", "mem_reserved_gb"}) {
    EXPECT_EQ(reason_of(std::string("\"step_s\": 1, \"") + key + "\": 0"),
              std::string("a: measured/") + key + ": expected a number from 0.001 to 100000, got 0");
  }
  EXPECT_EQ(reason_of(R"("step_s": 1, "job_busbw_gb_per_s": {"all_gather": 0})"),
            "a: measured/job_busbw_gb_per_s/all_gather: expected a number from 0.001 to 100000, got 0");
  EXPECT_EQ(reason_of("\"step_s\": 0, \"mem_gib\": 0"),
            std::string(kStep) + "0, measured/mem_gib: expected a number from 0.001 to 100000, got 0");
  EXPECT_EQ(reason_of("\"step_s\": 1, \"step_stdev_s\": 0"), "");
}

TEST(Runs, AFigureThatNobodyCanMeasureExcusesNoOtherMistake) {
  EXPECT_NE(problems("\"step_s\": 1.5", "\"step_s\": 0, \"steps\": 1").find("/runs/0/measured/steps: unknown key"),
            std::string::npos);
  EXPECT_NE(problems("\"gpus\": 8", "\"gpus\": 0").find("expected an integer"), std::string::npos);
}

TEST(Runs, AFileWithoutRunsIsRefused) {
  std::string none = kSmall.substr(0, kSmall.find("\"runs\": [")) + "\"runs\": []}";
  EXPECT_EQ(problems_of([&] { return read(none); }), "runs.json:5: /runs: expected at least one run, got none");
}

TEST(Runs, AModelThatIsNotFiniteBreaksTheRowsOfIt) {
  const RunsFile file = read(edited(kSmall, "\"hidden\": 64", "\"hidden\": NaN"));
  EXPECT_TRUE(file.runs.empty());
  ASSERT_EQ(file.broken.size(), 1u);
  EXPECT_EQ(file.broken.front().reason, "model tiny: hidden is NaN");
  EXPECT_EQ(file.broken.front().id, "a");
}

TEST(Runs, NaNExcusesNoOtherMistake) {
  EXPECT_EQ(problems("\"about\": \"one run\"", "\"about\": NaN"),
            "runs.json:3: /about: expected a finite number, got NaN\n"
            "runs.json:3: /about: expected a string, got NaN");
  EXPECT_NE(problems("\"step_s\": 1.5", "\"step_s\": NaN, \"step_s\": 1").find("duplicate key"), std::string::npos);
  EXPECT_NE(problems("\"runs\": [", "\"runs\": [{\"id\": \"a\", \"tp\": NaN},").find("expected each id once"),
            std::string::npos);
}

TEST(Runs, ReadTheRowsOfEveryPublishedKind) {
  const RunsFile file = read_runs(repository_path("tests/data/runs/published.json"));
  EXPECT_EQ(file.runs.size(), 13u);

  const PublishedRun& dense = run_of(file, "nanotron_h100_bench-0");
  EXPECT_EQ(dense.model_inline->ffn, 8192);
  EXPECT_TRUE(dense.model_inline->tied_embeddings);
  EXPECT_EQ(dense.measured.allocated_in_update, gib(25.07));
  EXPECT_EQ(dense.measured.reserved_peak_of_first, gib(50.18));
  EXPECT_EQ(dense.measured.bus_gigabytes_per_second.at("all_reduce"), 425.34);

  const PublishedRun& failed = run_of(file, "nanotron_h100_oom-8");
  EXPECT_TRUE(failed.measured.out_of_memory);
  EXPECT_FALSE(failed.model_inline->ffn.has_value());  // null in the file

  const PublishedRun& moe = run_of(file, "xtuner-147bbba6");
  EXPECT_TRUE(moe.is_moe);
  EXPECT_EQ(moe.vpp, 3);
  EXPECT_EQ(moe.recompute, (std::vector<std::string>{"moe_act", "layernorm"}));
  EXPECT_FALSE(moe.overlap.at("grad_reduce"));
  EXPECT_EQ(run_of(file, "vtrain-multi-0").interconnect_intra, "8x NVLink node, 800 Gb/s InfiniBand per node");
  EXPECT_EQ(run_of(file, "titan-8dc826c6").interconnect_inter, "400 Gb/s RDMA per GPU");
  EXPECT_EQ(run_of(file, "titan-8dc826c6").measured.reserved_peak, gib(82.4));
}

TEST(Runs, OverrideTheLayersOfATruncatedModel) {
  const RunsFile file = read_runs(repository_path("tests/data/runs/published.json"));
  EXPECT_EQ(file.models.at("llama3-70b").layers, 80);
  EXPECT_EQ(file.model_of(run_of(file, "simumax-70c6e4a0")).layers, 12);
  EXPECT_EQ(file.model_of(run_of(file, "nanotron_h100_bench-0")).layers, 16);
}

TEST(Runs, TakeALayoutAsMegatronsTextOrItsListOfStages) {
  const auto layout = [](const std::string& value) {
    return read(edited(kSmall, R"("flags": [])", R"("flags": [], "pipeline_layout": )" + value))
        .runs.front()
        .pipeline_layout;
  };
  EXPECT_EQ(layout(R"("Et*3|tL")"), "Et*3|tL");
  EXPECT_EQ(layout(R"([["embedding", "decoder"], [], ["decoder", "mtp", "loss"]])"), "Et||tmL");
  EXPECT_EQ(layout("null"), std::nullopt);
  EXPECT_THROW(layout(R"([["embedding", "head"]])"), ConfigError);
}

TEST(Runs, TakeAnOverlapOfNullForOneThatIsNotStated) {
  const std::string overlap = R"("flags": [], "overlap": {"moe_a2a": true, "grad_reduce": null})";
  const PublishedRun run = read(edited(kSmall, R"("flags": [])", overlap)).runs.front();
  EXPECT_TRUE(run.overlap.at("moe_a2a"));
  EXPECT_FALSE(run.overlap.contains("grad_reduce"));
}

TEST(Runs, KeepCudaGraphScopesAsAListOrAsOneWord) {
  const std::string list = R"("flags": [], "cuda_graph": ["attn", "moe_router"])";
  EXPECT_EQ(read(edited(kSmall, R"("flags": [])", list)).runs.front().cuda_graph,
            (std::vector<std::string>{"attn", "moe_router"}));
  const std::string word = R"("flags": [], "cuda_graph": "full_iteration")";
  EXPECT_EQ(read(edited(kSmall, R"("flags": [])", word)).runs.front().cuda_graph,
            std::vector<std::string>{"full_iteration"});
}

TEST(Runs, RefuseAnUnknownKey) {
  EXPECT_EQ(problems(R"("seq": 512)", R"("sequ": 512, "seq": 512)"),
            "runs.json:7: /runs/0/sequ: unknown key; did you mean \"seq\"?");
}

TEST(Runs, RefuseAMissingKey) {
  EXPECT_EQ(problems(R"("precision": "bf16", )", ""),
            "runs.json:6: /runs/0: expected the key \"precision\", which is missing");
}

TEST(Runs, RefuseAModelThatIsNotInTheTable) {
  EXPECT_EQ(problems(R"("model": "tiny")", R"("model": "large")"),
            "runs.json:6: /runs/0/model: expected a key of models, got \"large\"");
}

TEST(Runs, RefuseAnOutcomeThatIsNotOutOfMemory) {
  EXPECT_EQ(problems(R"("mem_alloc_gib": 10)", R"("outcome": "crashed")"),
            "runs.json:9: /runs/0/measured/outcome: expected \"OOM\", got \"crashed\"");
}

TEST(Runs, RefuseAnIdTwice) {
  const std::size_t first = kSmall.find("{\"id\""), end = kSmall.find("\n]\n}");
  const std::string twice = kSmall.substr(0, end) + ",\n" + kSmall.substr(first, end - first) + kSmall.substr(end);
  EXPECT_EQ(problems_of([&] { return read(twice); }),
            "runs.json:11: /runs/1/id: expected each id once, got \"a\" again");
}

TEST(Runs, RefuseAFileOfAnotherSchema) {
  EXPECT_EQ(problems("runs/1", "runs/2"), "runs.json:2: /schema: expected \"runs/1\", got \"runs/2\"");
}

TEST(Runs, JudgeTheCorpusOfFilesAsTheSchemaDoes) {
  const JsonDocument table = JsonDocument::parse_file(repository_path("tests/data/schemas/expectations.json").string());
  int num_judged = 0;
  for (const JsonValue& value : table.root().required("files").array()) {
    const JsonObject row = value.object();
    const std::string file = row.required("file").string();
    if (row.required("schema").string() != "runs/1") continue;
    SCOPED_TRACE(file);
    ++num_judged;
    std::vector<BrokenRun> broken;
    std::string problem =
        problems_of([&] { return broken = read_runs(repository_path("tests/data/schemas/" + file)).broken; });
    for (const BrokenRun& run : broken) problem += "/runs/0/" + run.reason;  // the row alone is refused
    EXPECT_EQ(problem.empty(), row.required("valid").boolean()) << problem;
    const std::string pointer = row.optional("pointer").string().value_or("");
    // A missing key is reported at its object.
    const bool is_named = problem.find(pointer) != std::string::npos ||
                          problem.find(pointer.substr(0, pointer.rfind('/')) + ":") != std::string::npos;
    EXPECT_TRUE(is_named) << problem;
  }
  EXPECT_GE(num_judged, 10);
}

}  // namespace
}  // namespace orrery::costmodel
