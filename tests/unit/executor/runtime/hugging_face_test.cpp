// SPDX-License-Identifier: Apache-2.0
// Weights of Hugging Face checkpoints in our kernels. The folders of tests/data/hugging_face were written by Hugging
// Face Transformers (tests/oracle/make_folders.py), with the logits that it computes from them in f64: a weight that
// lands in the wrong row, transposed or turned the wrong way, is another function.
#include "program/legality.h"
#include "tests/unit/executor/runtime/hf_folders.h"
#include "tests/unit/executor/runtime/logits.h"
#include "tests/unit/executor/runtime/whole_run.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

constexpr double kTolerance = 1e-5;
struct Layout {
  std::string name;
  std::int64_t num_ranks = 1;
  void (*change)(Strategy&) = [](Strategy&) {};
};

const Layout kLayouts[] = {
    {"one", 1},
    {"ep2 pp2", 4, [](Strategy& s) { s.ep = 2, s.pp = 2; }},
    {"tp2 etp2 zero3", 4, [](Strategy& s) { s.tp = 2, s.etp = 2, s.sp = true, s.zero_dense = 3, s.zero_expert = 3; }},
    {"cp2 ep2 zero1", 4, [](Strategy& s) { s.cp = 2, s.ep = 2, s.zero_dense = 1; }},
};

bool is_normed_over_all_heads(const Model& model) {
  const auto* gqa = std::get_if<GroupedQueryAttention>(&model.attention);
  return gqa != nullptr && gqa->qk_norm && gqa->qk_norm_kind == QkNorm::whole;
}

StepProgram program_of(const Model& model, const Layout& layout) {
  Strategy strategy = strategy_of(model);
  layout.change(strategy);
  if (is_normed_over_all_heads(model)) strategy.tp = 1, strategy.sp = false;  // it needs them on one rank
  if (!model.moe) strategy.ep = strategy.etp = 1, strategy.zero_expert = 0;
  if (!model.spans.empty()) strategy.cp_kind = ContextParallel::all_gather;
  strategy.stages = even_stages(model.num_layers(), strategy.pp);
  for (const Violation& violation : violations(model, strategy, kBatch, layout.num_ranks)) {
    ADD_FAILURE() << violation.key << ": " << violation.expected;
  }
  return lower(model, strategy, kBatch, layout.num_ranks);
}

class HuggingFace : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Families, HuggingFace, ::testing::ValuesIn(kHfFamilies),
                         [](const auto& family) { return family.param; });

TEST_P(HuggingFace, WeightsGiveTheLogitsOfTransformersOnEveryLayout) {
  const std::string family = GetParam();
  Model model = hf_model(family);
  if (model.moe) model.moe->aux_loss_coefficient = 0.0;  // the loss of the dump is the cross-entropy alone
  const SafetensorsFile dump(hf_folder(family + ".logits.safetensors").string());
  const double loss = dump.read_f32("loss").at(0);
  std::string text;
  for (const float token : dump.read_f32("text")) text += static_cast<char>(token);
  const CorpusFile corpus(text);
  TrainingSettings settings = settings_of(1);
  settings.corpus = corpus.path();
  for (const Layout& layout : kLayouts) {
    SCOPED_TRACE(layout.name);
    const StepProgram program = program_of(model, layout);
    ASSERT_EQ(cpu_unsupported(program), std::vector<std::string>());
    Logits logits;
    const WholeRun run = run_whole(program, settings, [&](RankRuntime& runtime) {
      const HfWeights weights(model, hf_folder(family));
      weights.check(whole_parameters(program));
      load_from(weights, runtime.state());
      runtime.observe([&](const OpCall& call) { logits.add(call); });
    });
    EXPECT_NEAR(run.losses.at(0), loss, kTolerance * loss);
    if (program.strategy.tp > 1 || program.strategy.cp > 1) continue;  // a rank has a part of a token's logits
    const double difference = relative_difference(dump.read_f32("logits"), logits.by_name().at("logits"));
    EXPECT_LE(difference, kTolerance);
    fmt::print("{} {}: loss {:.1e}, logits {:.1e}\n", family, layout.name, std::abs(run.losses.at(0) / loss - 1.0),
               difference);
  }
}

}  // namespace
}  // namespace orrery::executor
