// SPDX-License-Identifier: Apache-2.0
#include "program/counts.h"

#include "base/errors.h"
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
  EXPECT_EQ(models.size(), 19);
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

    EXPECT_EQ(counts.mtp_active, golden.optional("mtp_active").integer().value_or(0));

    const FlopsPerToken flops = training_flops_per_token(model, integer("flops_sequence"));
    EXPECT_EQ(flops.causal, golden.required("flops_per_token_causal").number());
    EXPECT_EQ(flops.noncausal, golden.required("flops_per_token_noncausal").number());
    EXPECT_EQ(training_flops_per_token(model, integer("flops_sequence"), Mtp::on).causal,
              golden.optional("flops_per_token_causal_mtp").number().value_or(flops.causal));
  }
  goldens.throw_if_problems();
}

TEST(Counts, OfDeepSeekV3IncludeTheSelectionBiases) {
  EXPECT_EQ(parameter_counts(catalog_model("deepseek-v3.json")).total, 671'026'419'200);
}

TEST(Counts, AreSumsOverTheParametersOfAllStagesAndRanks) {
  for (const Model& model : {test_model("moe-tiny-dense-first.json"), test_model("qwen1.5-moe-a2.7b.json"),
                             catalog_model("deepseek-v2-lite.json")}) {
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
  Model model = catalog_model("llama3-8b.json");
  const ParameterCounts untied = parameter_counts(model);
  model.tied_embeddings = true;
  const ParameterCounts tied = parameter_counts(model);
  EXPECT_EQ(tied.total, untied.total - model.vocab * model.hidden);
  EXPECT_EQ(tied.active_no_input_embedding, tied.total);
  EXPECT_EQ(tied.active_no_embedding_no_head, untied.active_no_embedding_no_head);
}

TEST(Counts, OfPredictionModulesAreOneLayerAProjectionAndThreeNorms) {
  const ParameterCounts counts = parameter_counts(catalog_model("deepseek-v3.json"));
  EXPECT_EQ(counts.mtp, 11'610'067'968);
  EXPECT_EQ(counts.mtp_active, 688'100'352);
  // GLM-4.5 calls itself 355B: with its module, without embedding and head.
  const Model glm = catalog_model("glm-4.5.json");
  const ParameterCounts of_glm = parameter_counts(glm);
  EXPECT_EQ(of_glm.total - of_glm.buffers + of_glm.mtp - 2 * glm.vocab * glm.hidden, 355'233'991'936);
}

TEST(Counts, OfAWindowLeaveTheLongPairsOutOfTheCausalConvention) {
  Model model = catalog_model("mixtral-8x7b.json");
  const FlopsPerToken full = training_flops_per_token(model, 8192);
  model.spans.assign(32, {.window = 8192});
  EXPECT_EQ(training_flops_per_token(model, 8192).causal, full.causal);
  model.spans.assign(32, {.window = 4096});
  // A triangle of 4096 queries, then 4096 that see 4096 keys each: 3071.75 keys per token, where all are 4096.
  EXPECT_EQ(training_flops_per_token(model, 8192).causal, full.causal - 6.0 * 2 * 32 * 128 * 32 * (4096 - 3071.75));
  EXPECT_EQ(training_flops_per_token(model, 8192).noncausal, full.noncausal);
}

TEST(Counts, OfFlopsWithPredictionModulesAddALayerAndTheLogits) {
  const Model model = catalog_model("glm-4.5-air.json");
  const FlopsPerToken without = training_flops_per_token(model, 4096);
  const FlopsPerToken with = training_flops_per_token(model, 4096, Mtp::on);
  const ParameterCounts counts = parameter_counts(model);
  const double logits = 6.0 * 4096 * 151552, core = 6.0 * 96 * 2 * 128 * 4096;
  EXPECT_EQ(with.noncausal - without.noncausal, 6.0 * static_cast<double>(counts.mtp_active) + logits + core);
}

TEST(Counts, OfFlopsNeedASequence) {
  EXPECT_THROW(training_flops_per_token(catalog_model("mixtral-8x7b.json"), 0), InternalError);
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
