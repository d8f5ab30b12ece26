// SPDX-License-Identifier: Apache-2.0
// Did what a trainer is told change? Three plans as every target writes them, notes included.
#include "planner/exporters/exporter.h"
#include "program/hf_config.h"
#include "program/legality.h"
#include "tests/golden/golden.h"

#include <string>

#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

Plan plan_of(const std::string& model, std::int64_t num_nodes) {
  Plan plan;
  plan.model = read_model(ORRERY_SOURCE_DIR "/catalog/models/" + model + ".json");
  NodeGroup group;
  group.num_nodes = num_nodes;
  group.devices_per_node = 8;
  plan.cluster.groups = {group};
  return plan;
}

void expect_goldens(const std::string& name, const Plan& plan) {
  ASSERT_TRUE(violations(plan.model, plan.strategy, plan.batch, plan.num_ranks()).empty());
  for (const Exporter& exporter : exporters()) {
    const Export found = exporter.write(plan);
    std::string text = found.text;
    for (const ExportNote& note : found.refused) text += "refused: " + note.key + ": " + note.text + "\n";
    for (const ExportNote& note : found.listed) text += "listed: " + note.key + ": " + note.text + "\n";
    testing::expect_golden("exports/" + name + "." + std::string(exporter.target) + ".txt", text);
  }
}

/// As published (arXiv 2412.19437, section 3), but for DualPipe, in whose place stand pairs of interleaved stages, and
/// a batch of 16 384 sequences, which interleaved stages can divide.
TEST(GoldenExport, DeepSeekV3) {
  Plan plan = plan_of("deepseek-v3", 256);
  plan.batch = {.seq = 4096, .global_batch = 16384};
  Strategy& s = plan.strategy;
  s.pp = 16;
  s.vpp = 2;
  s.ep = 64;
  s.schedule = Schedule::interleaved;
  s.mtp = Mtp::on;
  s.stages = even_stages(61, 32);
  s.stages = with_mtp(s.stages, 1);
  for (StageLayout& stage : s.stages) stage.recompute = {RecomputeModule::layernorm, RecomputeModule::mla_up_proj};
  s.zero_dense = s.zero_expert = 1;
  s.dispatcher = Dispatcher::two_level;
  s.overlap = {.dp_buckets = true, .ep_batch_level = true, .delayed_wgrad = true};
  s.precision = DType::fp8;
  s.moment_dtype = DType::bf16;
  expect_goldens("deepseek-v3", plan);
}

TEST(GoldenExport, MixtralInShardsOfWeights) {
  Plan plan = plan_of("mixtral-8x7b", 8);
  plan.batch = {.seq = 4096, .global_batch = 512};
  Strategy& s = plan.strategy;
  s.ep = 8;
  s.zero_dense = s.zero_expert = 3;
  s.stages = even_stages(32, 1);
  s.stages[0].recompute = {RecomputeModule::full};
  expect_goldens("mixtral-8x7b", plan);
}

TEST(GoldenExport, LlamaInEveryDimensionOfADenseModel) {
  Plan plan = plan_of("llama3-70b", 8);
  plan.batch = {.seq = 8192, .global_batch = 128};
  Strategy& s = plan.strategy;
  s.tp = 4;
  s.sp = true;
  s.cp = 2;
  s.pp = 4;
  s.vpp = 5;
  s.schedule = Schedule::interleaved;
  s.stages = even_stages(80, 20);
  s.overlap = {.dp_buckets = true, .tp = true};
  expect_goldens("llama3-70b", plan);
}

}  // namespace
}  // namespace orrery::planner
