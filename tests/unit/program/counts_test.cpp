// SPDX-License-Identifier: Apache-2.0
#include "program/counts.h"

#include "base/json_reader.h"
#include "program/hf_config.h"
#include "program/parameters.h"
#include "tests/unit/program/reading.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::repository_path;

Model catalog_model(const std::string& name) { return read_model(repository_path("catalog/models/" + name)); }
Model test_model(const std::string& name) { return read_model(repository_path("tests/data/models/" + name)); }

TEST(Counts, EqualTheGoldenIntegersOfEveryModel) {
  const JsonDocument goldens =
      JsonDocument::parse_file(repository_path("tests/data/goldens/parameter_counts.json").string());
  const std::vector<JsonValue> models = goldens.root().required("models").array();
  EXPECT_EQ(models.size(), 10);
  for (const JsonValue& value : models) {
    const JsonObject golden = value.object();
    const std::string path = golden.required("model").string();
    SCOPED_TRACE(path);
    const Model model = read_model(repository_path(path));
    const ParameterCounts counts = parameter_counts(model);
    const auto integer = [&](const char* key) { return golden.required(key).integer(); };
    EXPECT_EQ(counts.total, integer("weights") + integer("router_biases"));
    EXPECT_EQ(counts.buffers, integer("router_biases"));
    EXPECT_EQ(counts.active, integer("active_all"));
    EXPECT_EQ(counts.active_no_input_embedding, integer("active_no_input_embedding"));
    EXPECT_EQ(counts.active_no_embedding_no_head, integer("active_no_embedding_no_head"));
    EXPECT_EQ(counts.mtp, integer("mtp_module"));
    EXPECT_EQ(counts.total, golden.nullable("published_total").integer().value_or(counts.total));

    const FlopsPerToken flops = training_flops_per_token(model, integer("flops_sequence"));
    EXPECT_EQ(flops.causal, golden.required("flops_per_token_causal").number());
    EXPECT_EQ(flops.noncausal, golden.required("flops_per_token_noncausal").number());
  }
  goldens.throw_if_problems();
}

TEST(Counts, OfDeepSeekV3IncludeTheSelectionBiases) {
  EXPECT_EQ(parameter_counts(catalog_model("deepseek-v3.json")).total, 671'026'419'200);
}

TEST(Counts, AreSumsOverTheParametersOfAllStagesAndRanks) {
  for (const Model& model : {test_model("moe-tiny-dense-first.json"), test_model("qwen1.5-moe-a2.7b.json"),
                             test_model("deepseek-v2-lite.json")}) {
    SCOPED_TRACE(model.name);
    constexpr std::int64_t kRanks = 4;
    std::int64_t sum = 0;
    for (const StageLayout& stage : even_stages(model.num_layers(), 3)) {
      for (std::int64_t rank = 0; rank < kRanks; ++rank) {
        for (const Parameter& parameter : stage_parameters(model, stage, kRanks, rank)) {
          if (parameter.is_expert() || rank == 0) sum += parameter.size();
        }
      }
    }
    EXPECT_EQ(sum, parameter_counts(model).total);
  }
}

TEST(Counts, OfATiedHeadHoldTheMatrixOnceAndAsTheHead) {
  Model model = test_model("llama3-8b.json");
  const ParameterCounts untied = parameter_counts(model);
  model.tied_embeddings = true;
  const ParameterCounts tied = parameter_counts(model);
  EXPECT_EQ(tied.total, untied.total - model.vocab * model.hidden);
  EXPECT_EQ(tied.active_no_input_embedding, tied.total);
  EXPECT_EQ(tied.active_no_embedding_no_head, untied.active_no_embedding_no_head);
}

TEST(Counts, OfFlopsGrowWithTheSequenceOnlyInAttention) {
  const Model model = catalog_model("mixtral-8x7b.json");
  const double step = training_flops_per_token(model, 2).causal - training_flops_per_token(model, 1).causal;
  EXPECT_EQ(step, 6.0 * 32 * 4096);  // 6 A_core L with A_core = n dh
  const FlopsPerToken flops = training_flops_per_token(model, 4096);
  EXPECT_LT(flops.causal, flops.noncausal);
}

}  // namespace
}  // namespace orrery
