// SPDX-License-Identifier: Apache-2.0
// The executor against PyTorch. The dumps of tests/data/oracle hold weights and a text, and the logits, loss and
// gradients that tests/oracle/make_dumps.py got from them by autograd in f64, with formulas taken from papers. Nothing
// of ours has a part in them, and no PyTorch in this test (docs/design/oracle.md).
#include "executor/checkpoint/safetensors.h"
#include "tests/unit/executor/runtime/logits.h"
#include "tests/unit/executor/runtime/whole_run.h"
#include "tests/unit/program/reading.h"

#include <cstdio>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

constexpr double kTolerance = 1e-5;

/// Two layers of grouped-query attention and softmax-routed experts, with the auxiliary loss.
Model mixtral() {
  Model model = small_model();
  model.dense_width = 0;
  model.layers = {LayerKind::moe, LayerKind::moe};
  model.norm_eps = 1e-5;
  model.rope_theta = 1e6;
  return model;
}

/// A dense layer, two with experts, and a prediction module.
Model deepseek() {
  Model model = deepseek_model();
  model.layers = {LayerKind::dense, LayerKind::moe, LayerKind::moe};
  return model;
}

/// What those two lack: biases, sinks, a window, norms of queries and keys, a gate on the shared expert, a tied head.
Model varied() {
  Model model = mixtral();
  model.layers = {LayerKind::dense, LayerKind::moe};
  model.dense_width = 48;
  model.tied_embeddings = true;
  model.mlp_bias = true;
  model.spans = {{.window = 6}, {}};
  auto& attention = std::get<GroupedQueryAttention>(model.attention);
  attention.qkv_bias = attention.out_bias = attention.sinks = attention.qk_norm = true;
  model.moe->router_bias = model.moe->expert_bias = true;
  model.moe->shared_width = 16;
  model.moe->shared_expert_gate = true;
  model.moe->aux_loss_coefficient = 0.0;
  return model;
}

/// The experts of GPT-OSS, with its biases, sinks and window.
Model gpt_oss() {
  Model model = mixtral();
  model.rope_theta = 1.5e5;
  model.spans = {{.window = 6}, {}};
  auto& attention = std::get<GroupedQueryAttention>(model.attention);
  attention.qkv_bias = attention.out_bias = attention.sinks = true;
  model.moe->num_experts = 4;
  model.moe->router_bias = model.moe->expert_bias = true;
  model.moe->aux_loss_coefficient = 0.0;
  model.moe->swiglu_limit = 0.5;
  return model;
}

/// The attention of GLM-4.5, of whose heads RoPE turns a half, with its routing.
Model glm() {
  Model model = mixtral();
  model.layers = {LayerKind::dense, LayerKind::moe};
  model.dense_width = 48;
  auto& attention = std::get<GroupedQueryAttention>(model.attention);
  attention.qkv_bias = attention.qk_norm = true;
  attention.rotary_dim = 4;
  model.moe->num_experts = 4;
  model.moe->shared_width = 16;
  model.moe->score = orrery::RouterScore::sigmoid;
  model.moe->aux_free_bias = true;
  model.moe->routed_scaling = 1.5;
  model.moe->aux_loss_coefficient = 0.0;
  return model;
}

struct Dump {
  std::map<std::string, std::vector<float>> weights, gradients, logits;
  std::string text;
  double loss = 0.0;
};

Dump read_dump(const std::string& name) {
  const SafetensorsFile file(orrery::testing::repository_path("tests/data/oracle/" + name + ".safetensors").string());
  Dump dump;
  for (const auto& [full, tensor] : file.tensors()) {
    const std::size_t dot = full.find('.');
    const std::string kind = full.substr(0, dot);
    std::vector<float> values = file.read_f32(full);
    if (kind == "weight") {
      dump.weights[full.substr(dot + 1)] = std::move(values);
    } else if (kind == "gradient") {
      dump.gradients[full.substr(dot + 1)] = std::move(values);
    } else if (full == "text") {
      for (const float token : values) dump.text += static_cast<char>(token);
    } else if (full == "loss") {
      dump.loss = static_cast<double>(values.at(0));
    } else {
      dump.logits[full] = std::move(values);
    }
  }
  return dump;
}

/// Expects the same names, and tensors within the tolerance; returns the largest difference, and where it is.
std::string expect_tensors(const std::map<std::string, std::vector<float>>& want,
                           const std::map<std::string, std::vector<float>>& got) {
  EXPECT_EQ(want.size(), got.size());
  double largest = 0.0;
  std::string where;
  for (const auto& [name, values] : want) {
    const auto found = got.find(name);
    if (found == got.end() || found->second.size() != values.size()) {
      ADD_FAILURE() << name << " is missing or has another size";
      continue;
    }
    const double difference = relative_difference(values, found->second);
    EXPECT_LE(difference, kTolerance) << name;
    if (difference < largest) continue;
    largest = difference;
    where = name;
  }
  return fmt::format("{:.1e} ({})", largest, where);
}

void expect_as_pytorch(const std::string& name, const Model& model, std::int64_t pp, std::int64_t ep) {
  SCOPED_TRACE(fmt::format("{} pp{} ep{}", name, pp, ep));
  const Dump dump = read_dump(name);
  const CorpusFile corpus(dump.text);
  TrainingSettings settings = settings_of(1);
  settings.corpus = corpus.path();
  Logits logits;
  const StepProgram program = lower(model, strategy_of(model, pp, ep), kBatch, pp * ep);
  const WholeRun run = run_whole(program, settings, [&](RankRuntime& runtime) {
    set_weights(runtime.state(), dump.weights);
    runtime.observe([&](const OpCall& call) { logits.add(call); });
  });
  EXPECT_NEAR(run.losses.at(0), dump.loss, kTolerance * dump.loss);
  const std::string logits_text = expect_tensors(dump.logits, logits.by_name());
  std::printf("%s pp%d ep%d: loss %.1e, logits %s, gradients %s\n", name.c_str(), static_cast<int>(pp),
              static_cast<int>(ep), std::abs(run.losses.at(0) / dump.loss - 1.0), logits_text.c_str(),
              expect_tensors(dump.gradients, run.gradients).c_str());
}

TEST(Oracle, MixtralStyleModelIsThatOfPyTorch) {
  expect_as_pytorch("mixtral", mixtral(), 1, 1);
  expect_as_pytorch("mixtral", mixtral(), 2, 2);
}

TEST(Oracle, DeepSeekStyleModelIsThatOfPyTorch) {
  expect_as_pytorch("deepseek", deepseek(), 1, 1);
  expect_as_pytorch("deepseek", deepseek(), 2, 2);
}

TEST(Oracle, TheClampedExpertsOfGptOssAreThoseOfPyTorch) {
  expect_as_pytorch("gpt_oss", gpt_oss(), 1, 1);
  expect_as_pytorch("gpt_oss", gpt_oss(), 2, 2);
}

TEST(Oracle, ThePartlyTurnedHeadsOfGlmAreThoseOfPyTorch) {
  expect_as_pytorch("glm4_moe", glm(), 1, 1);
  expect_as_pytorch("glm4_moe", glm(), 2, 2);
}

TEST(Oracle, EverythingElseOfAModelIsThatOfPyTorch) {
  expect_as_pytorch("varied", varied(), 1, 1);
  expect_as_pytorch("varied", varied(), 2, 2);
}

}  // namespace
}  // namespace orrery::executor
