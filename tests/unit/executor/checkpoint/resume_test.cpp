// SPDX-License-Identifier: Apache-2.0
// A run that is saved, ended and resumed, by the same plan and by others. What is loaded is demanded to the bit on
// every layout; what is trained from there, as docs/design/equality.md says of the change of layout.
#include "executor/runtime/checkpointing.h"
#include "executor/runtime/saved_state.h"
#include "program/legality.h"
#include "tests/unit/base/test_folder.h"
#include "tests/unit/executor/checkpoint/content.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <utility>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using orrery::testing::TestFolder;
using testing::content;
using testing::kBatch;

/// A model on some ranks, trained from a checkpoint, or from the start.
struct Layout {
  std::string name;
  Strategy strategy;
  std::int64_t num_ranks = 1;
};

using Curve = std::vector<std::pair<double, double>>;  // loss and gradient norm of each step

/// Trains to step `last` and saves all on the way, `every` so many steps, in `to`.
Curve train(const Model& model, const Layout& layout, std::int64_t last, const std::filesystem::path& from,
            const std::filesystem::path& to, std::int64_t every = 0) {
  const StepProgram program = lower(model, layout.strategy, kBatch, layout.num_ranks);
  TrainingSettings settings = testing::settings_of(last);
  settings.clip_norm = 0.5;  // it acts
  Curve curve;
  testing::on_all_ranks(program, settings, [&](RankRuntime& runtime, int rank) {
    RankState& state = runtime.state();
    if (!from.empty()) {
      const CheckpointReader reader(last_checkpoint(from).value());
      load_state(program, RankId(rank), reader, state.weights);
      state.step = reader.manifest().step;
    }
    Checkpointing saving(runtime, to, every, {.model = "m", .seq = 1, .global_batch = 1});
    if (state.step == last) saving.save();
    while (state.step < last) {
      const RankRuntime::Step done = runtime.run_step();
      saving.after_step();
      if (rank == 0) curve.emplace_back(done.record.loss, done.record.grad_norm);
    }
    saving.finish();
  });
  return curve;
}

Model without_aux(Model model) {
  model.moe->aux_loss_coefficient = 0.0;
  return model;
}

template <class Change>
Layout layout(std::string name, const Model& model, std::int64_t num_ranks, Change&& change) {
  Layout out{std::move(name), testing::strategy_of(model), num_ranks};
  change(out.strategy);
  out.strategy.stages = with_mtp(even_stages(model.num_layers(), out.strategy.pp), model.num_mtp_modules);
  return out;
}

/// Layouts of a model that are one training run: their losses differ by rounding at most.
std::vector<Layout> layouts_of(const Model& model) {
  std::vector<Layout> all;
  const auto add = [&](std::string name, std::int64_t num_ranks, auto&& change) {
    Layout made = layout(std::move(name), model, num_ranks, change);
    const bool legal = violations(model, made.strategy, kBatch, num_ranks).empty();
    if (legal && cpu_unsupported(lower(model, made.strategy, kBatch, num_ranks)).empty())
      all.push_back(std::move(made));
  };
  add("one", 1, [](Strategy&) {});
  add("ep4", 4, [](Strategy& s) { s.ep = 4; });
  add("pp2 ep2 zero1", 4, [](Strategy& s) { s.pp = 2, s.ep = 2, s.zero_dense = s.zero_expert = 1; });
  add("zero3", 4, [](Strategy& s) { s.zero_dense = s.zero_expert = 3; });
  add("hybrid", 4, [](Strategy& s) { s.ep = 2, s.zero_dense = 1, s.num_optimizer_instances = 2; });
  add("tp2 etp2 pp2", 4, [](Strategy& s) { s.tp = s.etp = 2, s.sp = true, s.pp = 2; });
  add("tp4 zero1: copies of key-value heads", 8,
      [](Strategy& s) { s.tp = 4, s.sp = true, s.ep = 4, s.zero_dense = 1; });
  add("cp2 zero2", 2, [](Strategy& s) { s.cp = 2, s.zero_dense = 2, s.zero_expert = 1; });
  EXPECT_EQ(all.size(), model.family == "gpt_oss" ? 7U : 8U);  // one of them is refused for it
  return all;
}

class Resume : public ::testing::TestWithParam<std::pair<std::string, Model>> {};

Model tied(Model model) {
  model.tied_embeddings = true;
  return model;
}

INSTANTIATE_TEST_SUITE_P(Models, Resume,
                         ::testing::Values(std::pair("rich", without_aux(testing::rich_model())),
                                           std::pair("deepseek", testing::deepseek_model()),
                                           std::pair("gpt_oss", testing::gpt_oss_model()),
                                           std::pair("tied", tied(without_aux(testing::small_model())))),
                         [](const auto& model) { return model.param.first; });

TEST_P(Resume, TheCurveGoesOnAsIfNothingHadHappened) {
  for (const Layout& layout : layouts_of(GetParam().second)) {
    SCOPED_TRACE(layout.name);
    const TestFolder folder;
    const Curve whole = train(GetParam().second, layout, 4, "", folder / "whole");
    train(GetParam().second, layout, 2, "", folder / "half", 1);
    const Curve rest = train(GetParam().second, layout, 4, folder / "half", folder / "rest");
    EXPECT_EQ(rest, Curve(whole.begin() + 2, whole.end()));
    EXPECT_EQ(content(folder / "rest"), content(folder / "whole"));
  }
}

// What trains on starts from the same bits as the layout that saved them, so only one forward lies between the two
// losses. After steps of their own, two layouts may send a token whose experts are nearly tied to different ones.
TEST_P(Resume, EveryLayoutLoadsEveryBitAndTrainsOn) {
  const std::vector<Layout> all = layouts_of(GetParam().second);
  const TestFolder folder;
  for (std::size_t i = 0; i < all.size(); ++i) {
    // From each layout to the next one, and around.
    const Layout& from = all[i];
    const Layout& to = all[(i + 1) % all.size()];
    SCOPED_TRACE(from.name + " to " + to.name);
    const std::string saved = folder / ("saved" + std::to_string(i)), again = folder / ("again" + std::to_string(i));
    train(GetParam().second, from, 2, "", saved);
    train(GetParam().second, to, 2, saved, again);
    EXPECT_EQ(content(again), content(saved));
    const Curve whole = train(GetParam().second, from, 3, "", folder / ("whole" + std::to_string(i)));
    const Curve rest = train(GetParam().second, to, 3, saved, folder / ("rest" + std::to_string(i)));
    EXPECT_NEAR(rest.at(0).first, whole[2].first, 1e-5 * whole[2].first);
  }
}

TEST(ResumeOf, MuonDualPipeOffloadAndBf16GoesOnToTheBit) {
  const Model model = without_aux(testing::small_model());
  const auto muon = [](Strategy& s) { s.optimizer = OptimizerKind::muon, s.ep = 2, s.zero_dense = s.zero_expert = 1; };
  const auto bf16 = [](Strategy& s) { s.precision = DType::bf16, s.zero_dense = 1, s.ep = 2; };
  const auto offload = [](Strategy& s) { s.offload_optimizer = true, s.zero_dense = 1, s.precision = DType::bf16; };
  const auto dual = [](Strategy& s) { s.pp = 2, s.schedule = Schedule::dualpipe; };
  for (const Layout& layout : {layout("muon", model, 4, muon), layout("bf16", model, 2, bf16),
                               layout("offload", model, 2, offload), layout("dualpipe", model, 2, dual)}) {
    SCOPED_TRACE(layout.name);
    const TestFolder folder;
    const Curve whole = train(model, layout, 4, "", folder / "whole");
    train(model, layout, 2, "", folder / "half");
    EXPECT_EQ(train(model, layout, 4, folder / "half", folder / "rest"), Curve(whole.begin() + 2, whole.end()));
    EXPECT_EQ(content(folder / "rest"), content(folder / "whole"));
  }
}

// EP, PP and ZeRO with one micro-batch a rank change no bit (equality.md), so neither does a resume between them.
TEST(ResumeOf, LayoutsThatAreEqualToTheBitStaysEqual) {
  const Model model = without_aux(testing::small_model());
  const Layout one = layout("pp2", model, 2, [](Strategy& s) { s.pp = 2; });
  const TestFolder folder;
  const Curve whole = train(model, one, 4, "", folder / "whole");
  train(model, one, 2, "", folder / "half");
  const Layout other = layout("pp4", model, 4, [](Strategy& s) { s.pp = 4, s.schedule = Schedule::zb_h1; });
  EXPECT_EQ(train(model, other, 4, folder / "half", folder / "rest"), Curve(whole.begin() + 2, whole.end()));
  EXPECT_EQ(content(folder / "rest"), content(folder / "whole"));
}

}  // namespace
}  // namespace orrery::executor
