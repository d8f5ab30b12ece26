// SPDX-License-Identifier: Apache-2.0
// Gradients in whole numbers: the bits of one rank on every layout (docs/design/reproducible.md). Each comparison is
// made without them as well, where today's sums differ, so that it is known to see what it looks for.
#include "executor/runtime/reproducible.h"

#include "base/errors.h"
#include "tests/unit/executor/runtime/whole_run.h"

#include <functional>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t kSteps = 3;

Strategy in_whole_numbers(Strategy s) {
  s.grad_dtype = s.grad_wire_dtype = DType::i64;
  return s;
}

bool same_bits(const WholeRun& a, const WholeRun& b) {
  return a.weights == b.weights && a.losses == b.losses && a.norms == b.norms;
}

TrainingSettings clipped() {
  TrainingSettings settings = settings_of(kSteps);
  settings.clip_norm = 0.5;  // below the norm of every step
  return settings;
}

/// One rank with micro-batches of one sequence, against which layouts are held.
class Reference {
 public:
  explicit Reference(const Model& model, const BatchShape& batch = kBatch,
                     const std::function<void(Strategy&)>& change = {})
      : model_(model), batch_(batch) {
    Strategy s = testing::strategy_of(model);
    if (change) change(s);
    whole_ = run_whole(lower(model, in_whole_numbers(s), batch, 1), clipped());
    floating_ = run_whole(lower(model, s, batch, 1), clipped());
    for (const double norm : whole_.norms) EXPECT_GT(norm, clipped().clip_norm);
    expect_close(floating_, whole_);
  }

  /// Expects that training on `layout` is the same to the last bit, and the same but for rounding with gradients in
  /// f32.
  void expect_same(const Strategy& layout, std::int64_t ranks, bool differs_in_f32 = true,
                   Backend backend = Backend::shm) const {
    const StepProgram program = lower(model_, in_whole_numbers(layout), batch_, ranks);
    EXPECT_THAT(cpu_unsupported(program), IsEmpty());
    expect_same_bits(whole_, run_whole(program, clipped(), {}, backend));
    expect_accounts(program, settings_of(1), backend);
    const WholeRun floating = run_whole(lower(model_, layout, batch_, ranks), clipped());
    EXPECT_EQ(same_bits(floating_, floating), !differs_in_f32);
  }

 private:
  Model model_;
  BatchShape batch_;
  WholeRun whole_, floating_;
};

Strategy layout_of(const Model& model, std::int64_t ep = 1, std::int64_t micro_batch = 1) {
  return testing::strategy_of(model, 1, ep, micro_batch);
}

TEST(Reproducible, DataParallelRanksAndMicroBatchesChangeNoBit) {
  const Model model = rich_model();
  const Reference one(model);
  for (const std::int64_t micro_batch : {2, 4, 8}) one.expect_same(layout_of(model, 1, micro_batch), 1);
  for (const std::int64_t ranks : {2, 4}) {
    for (const std::int64_t micro_batch : {1, 2}) {
      SCOPED_TRACE(fmt::format("{} ranks, {} sequences", ranks, micro_batch));
      one.expect_same(layout_of(model, 1, micro_batch), ranks);
    }
  }
  one.expect_same(layout_of(model), 4, true, Backend::tcp);
}

// Ranks that are no power of two have sequences of which no binary tree has a node.
TEST(Reproducible, ThreeRanksOrSixChangeNoBit) {
  const Model model = small_model();
  const Reference one(model, {.seq = 16, .global_batch = 12});
  for (const std::int64_t ranks : {3, 6}) one.expect_same(layout_of(model), ranks);
  one.expect_same(layout_of(model, 1, 2), 3);
}

TEST(Reproducible, ExpertParallelRanksChangeNoBit) {
  const Model model = rich_model();
  const Reference one(model);
  for (const std::int64_t ep : {2, 4}) {
    for (const std::int64_t micro_batch : {1, 2}) {
      SCOPED_TRACE(fmt::format("EP {}, {} sequences", ep, micro_batch));
      Strategy s = layout_of(model, ep, micro_batch);
      one.expect_same(s, 4);
      s.stages[0].recompute = {RecomputeModule::moe};
      one.expect_same(s, 4);
    }
  }
}

TEST(Reproducible, EveryStageOfZeroChangesNoBit) {
  const Model model = rich_model();
  const Reference one(model);
  for (const auto& [dense, expert] : {std::pair{1, 1}, {2, 0}, {0, 2}, {2, 2}, {3, 3}, {3, 1}}) {
    SCOPED_TRACE(10 * dense + expert);
    Strategy s = layout_of(model, 2);
    s.zero_dense = dense;
    s.zero_expert = expert;
    one.expect_same(s, 4);
    s.num_optimizer_instances = 2;
    if (dense == expert) one.expect_same(s, 8);
  }
  Strategy s = layout_of(model, 2);
  s.overlap.dp_buckets = true;
  one.expect_same(s, 4);
}

TEST(Reproducible, DualPipeChangesNoBit) {
  const Model model = rich_model();
  const Reference one(model, {.seq = 16, .global_batch = 16});
  for (const std::int64_t ep : {1, 2}) {
    for (const std::int64_t pp : {2, 4}) {
      SCOPED_TRACE(10 * ep + pp);
      Strategy s = layout_of(model, ep);
      s.schedule = Schedule::dualpipe;
      s.pp = pp;
      s.stages = even_stages(model.num_layers(), pp);
      one.expect_same(s, pp * ep);
    }
  }
}

TEST(Reproducible, PipelinesWithDataParallelRanksAndSplitBackwardsChangeNoBit) {
  const Model model = small_model();
  const Reference one(model);
  for (const Schedule schedule : {Schedule::one_f_one_b, Schedule::zb_h1, Schedule::zbv}) {
    for (const int zero : {0, 2, 3}) {
      SCOPED_TRACE(name_of(schedule));
      Strategy s = layout_of(model);
      s.schedule = schedule;
      s.pp = 2;
      s.vpp = schedule == Schedule::zbv ? 2 : 1;
      s.stages = even_stages(model.num_layers(), s.num_stages());
      s.zero_dense = s.zero_expert = zero;
      one.expect_same(s, 4);
    }
  }
}

TEST(Reproducible, ATiedHeadOnAnotherStageChangesNoBit) {
  Model model = small_model();
  model.tied_embeddings = true;
  const Reference one(model);
  for (const std::int64_t ranks : {2, 4}) {
    for (const int zero : {0, 1}) {
      SCOPED_TRACE(10 * ranks + zero);
      Strategy s = layout_of(model);
      s.pp = 2;
      s.stages = even_stages(model.num_layers(), 2);
      s.zero_dense = s.zero_expert = zero;
      one.expect_same(s, ranks);
    }
  }
}

// Latent attention, prediction modules, biases, sinks, gates: every op that adds to a gradient does it by sequence.
TEST(Reproducible, EveryFamilyOnFourRanks) {
  for (const Model& model : {deepseek_model(), gpt_oss_model(), qwen2_moe_model()}) {
    SCOPED_TRACE(model.family);
    const Reference one(model);
    one.expect_same(layout_of(model, 1, 4), 1);
    Strategy s = layout_of(model, 2);
    s.zero_dense = s.zero_expert = 2;
    one.expect_same(s, 4);
  }
}

TEST(Reproducible, Bf16AndMuonAsWell) {
  const Model model = rich_model();
  const auto bf16 = [](Strategy& s) { s.precision = DType::bf16; };
  const auto muon = [](Strategy& s) { s.optimizer = OptimizerKind::muon; };
  for (const std::function<void(Strategy&)>& change : {std::function<void(Strategy&)>(muon), {bf16}}) {
    Strategy s = layout_of(model, 2, 2);
    change(s);
    s.zero_dense = s.zero_expert = 1;
    const StepProgram one = lower(model, in_whole_numbers([&] {
                                    Strategy single = layout_of(model);
                                    change(single);
                                    return single;
                                  }()),
                                  kBatch, 1);
    const WholeRun want = run_whole(one, clipped());
    expect_same_bits(want, run_whole(lower(model, in_whole_numbers(s), kBatch, 4), clipped()));
    EXPECT_FALSE(same_bits(want, run_whole(lower(model, s, kBatch, 4), clipped())));
  }
}

TEST(Reproducible, SaysWhatItCannotHold) {
  const Model model = small_model();
  const StepProgram program = lower(model, in_whole_numbers(layout_of(model)), kBatch, 1);
  const auto grow_final_norm = [](RankRuntime& runtime) {
    FlatState& dense = runtime.state().weights.dense();
    for (std::size_t i = 0; i < dense.parameters().size(); ++i) {
      if (dense.parameters()[i].whole.role != WeightRole::final_norm) continue;
      const std::vector<float> large(static_cast<std::size_t>(dense.parameters()[i].size()), 1e9F);
      dense.start(static_cast<std::int64_t>(i), matrix_of(large.data(), 1, std::ssize(large)));
    }
  };
  try {
    run_whole(program, settings_of(1), grow_final_norm);
    FAIL() << "gradients of that size were added up";
  } catch (const BackendError& error) {
    EXPECT_THAT(error.what(), HasSubstr("wgrad/head.logits: expected gradients of a sequence below 256, "));
  }
}

TEST(Reproducible, RefusesWhatRoundsTheTermsAnew) {
  const Model model = small_model();
  EXPECT_THAT(why_not_reproducible(layout_of(model, 2)), IsEmpty());
  Strategy s = layout_of(model, 2);
  s.tp = s.etp = s.cp = 2;
  s.dispatcher = Dispatcher::two_level;
  s.capacity_factor = 1.5;
  EXPECT_THAT(
      why_not_reproducible(s),
      ElementsAre("expected tp 1, since its ranks round parts of a product's sums before they are added, got 2",
                  "expected etp 1, since its ranks round parts of a product's sums before they are added, got 2",
                  "expected cp 1, since its ranks round parts of a softmax's sums before they are added, got 2",
                  "expected dispatcher \"all_to_all\", since others add up a token's rows where its experts are, "
                  "got \"two_level\"",
                  "expected no capacity_factor, since places are counted on each rank and in each micro-batch, "
                  "got 1.5"));
  s.ep = 1;  // nothing travels, whoever would carry it
  EXPECT_EQ(why_not_reproducible(s).size(), 4U);

  Plan plan{.model = model, .strategy = layout_of(model, 2)};
  plan.strategy.grad_wire_dtype = DType::bf16;
  EXPECT_EQ(reproducible(plan).strategy.grad_dtype, DType::i64);
  EXPECT_EQ(reproducible(plan).strategy.grad_wire_dtype, DType::i64);
  plan.strategy.tp = 2;
  EXPECT_THROW(reproducible(plan), ConfigError);

  Strategy tp = in_whole_numbers(layout_of(model));
  tp.tp = 2;
  tp.sp = true;
  EXPECT_THAT(
      cpu_unsupported(lower(model, tp, kBatch, 2)),
      ElementsAre("the CPU executor has gradients in whole numbers where no layout changes their terms: expected "
                  "tp 1, since its ranks round parts of a product's sums before they are added, got 2"));
}

}  // namespace
}  // namespace orrery::executor
