// SPDX-License-Identifier: Apache-2.0
// Runs that take the choices of others: what is left of a difference where routing was the only one, and where a tie
// would have made one.
#include "executor/runtime/routing_replay.h"

#include "executor/checkpoint/safetensors.h"
#include "executor/runtime/checkpointing.h"
#include "program/legality.h"
#include "tests/unit/executor/checkpoint/broken_files.h"
#include "tests/unit/executor/checkpoint/content.h"
#include "tests/unit/executor/runtime/whole_run.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;
using Path = std::filesystem::path;

constexpr std::int64_t kSteps = 3;

struct Training {
  StepProgram program;
  TrainingSettings settings = settings_of(kSteps);
  Path record, replay;  // empty: no
  Path checkpoint;
  std::function<void(RankRuntime&)> prepare = [](RankRuntime&) {};
};

struct Curve {
  std::vector<double> losses, norms;
  bool operator==(const Curve&) const = default;
};

/// As execute_rank() does it.
Curve train(const Training& run) {
  Curve curve;
  on_all_ranks(run.program, run.settings, [&](RankRuntime& runtime, int rank) {
    RankState& state = runtime.state();
    run.prepare(runtime);
    for (std::int64_t step = 0; step < run.settings.num_steps; ++step) {
      if (!run.replay.empty()) replay_routing(state, run.replay);
      if (!run.record.empty()) record_routing(state);
      const StepRecord record = runtime.run_step().record;
      if (state.recorded) save_routing(state, run.record);
      if (rank == 0) curve.losses.push_back(record.loss), curve.norms.push_back(record.grad_norm);
    }
    if (run.checkpoint.empty()) return;
    Checkpointing saving(runtime, run.checkpoint, 0, {.model = "m", .seq = 1, .global_batch = 1});
    saving.save();
    saving.finish();
  });
  return curve;
}

StepProgram program_of(const Model& model, std::int64_t num_ranks, void (*change)(Strategy&)) {
  Strategy strategy = strategy_of(model);
  change(strategy);
  strategy.stages = with_mtp(even_stages(model.num_layers(), strategy.pp), model.num_mtp_modules);
  if (strategy.pp > 1) strategy.stages[0].recompute = {RecomputeModule::full};  // chooses twice
  for (const Violation& violation : violations(model, strategy, kBatch, num_ranks)) {
    ADD_FAILURE() << violation.key << ": " << violation.expected;
  }
  return lower(model, strategy, kBatch, num_ranks);
}

StepProgram on_one_rank(const Model& model) {
  return program_of(model, 1, [](Strategy&) {});
}

// EP and stages change no bit, and where TP and CP cut the tokens no choice is near a tie: whatever rank has a token,
// what it chose is written in the same place.
TEST(RoutingReplay, ARecordKnowsTokensAndNoRanks) {
  const Model model = deepseek_model();  // with a prediction module
  const TestFolder folder;
  Training one{.program = on_one_rank(model), .record = folder / "one"};
  start_routing(one.record, one.program);
  one.settings.num_steps = 1;
  train(one);
  const Choices want = read_routing(routing_of_step(one.record, 0), one.program);
  EXPECT_EQ(want.size(), 4U);
  struct {
    std::int64_t num_ranks;
    void (*change)(Strategy&);
  } layouts[] = {{4, [](Strategy& s) { s.ep = 2, s.pp = 2, s.micro_batch = 2; }},
                 {4, [](Strategy& s) { s.tp = 2, s.sp = true, s.ep = 2, s.micro_batch = 2; }},
                 {2, [](Strategy& s) { s.cp = 2; }}};
  for (const auto& layout : layouts) {
    Training other{.program = program_of(model, layout.num_ranks, layout.change), .record = folder / "other"};
    start_routing(other.record, other.program);
    other.settings.num_steps = 1;
    train(other);
    EXPECT_EQ(read_routing(routing_of_step(other.record, 0), other.program), want);
  }
}

// One run chooses as benchmarks do, the other would choose as its routers say: with the choices of the first it is the
// same training to the last bit, under a layout that changes none (equality.md).
TEST(RoutingReplay, WhereRoutingWasTheOnlyDifferenceNoneIsLeft) {
  const Model model = rich_model();
  const TestFolder folder;
  Training balanced{.program = on_one_rank(model), .record = folder / "routing", .checkpoint = folder / "balanced"};
  balanced.settings.balanced_routing = true;
  start_routing(balanced.record, balanced.program);
  const Curve want = train(balanced);
  Training replayed{.program = program_of(model, 4, [](Strategy& s) { s.pp = 4, s.schedule = Schedule::zb_h1; }),
                    .replay = folder / "routing",
                    .checkpoint = folder / "replayed"};
  check_routing(replayed.replay, replayed.program, 0, kSteps);
  EXPECT_NE(train({.program = replayed.program}).losses, want.losses);
  EXPECT_EQ(train(replayed), want);
  EXPECT_TRUE(content(replayed.checkpoint) == content(balanced.checkpoint));
}

/// Makes the first two experts of every router as good as tied: their rows differ by rounding.
void tie_experts(RankRuntime& runtime) {
  FlatState& dense = runtime.state().weights.dense();
  for (std::size_t i = 0; i < dense.parameters().size(); ++i) {
    const LocalParameter& p = dense.parameters()[i];
    if (p.whole.role != WeightRole::router) continue;
    const Matrix all = dense.weights(static_cast<std::int64_t>(i), 0, p.size());
    auto* const values = static_cast<float*>(all.first);
    for (std::int64_t col = 0; col < p.cols; ++col) {
      values[p.cols + col] = values[col] * (1.0F + (col % 2 == 0 ? 1.0F : -1.0F) * 0x1p-23F);
    }
  }
}

// "Where a tolerance ends" of equality.md: the sums of TP differ in the last bit, so tied tokens go elsewhere, and the
// losses part by far more than rounding. With the choices of one rank they do not.
TEST(RoutingReplay, NearTiesNoLongerPartTwoLayouts) {
  Model model = small_model();
  model.moe->top_k = 1;  // with both of two tied experts nothing is decided
  const TestFolder folder;
  Training one{.program = on_one_rank(model), .record = folder / "one", .prepare = tie_experts};
  Training other{.program = program_of(model, 2, [](Strategy& s) { s.tp = 2, s.sp = true; }),
                 .record = folder / "other",
                 .prepare = tie_experts};
  start_routing(one.record, one.program);
  start_routing(other.record, other.program);
  const Curve want = train(one), parted = train(other);
  std::int64_t num_differing = 0;
  const Choices chose = read_routing(routing_of_step(one.record, 0), one.program);
  for (const auto& [layer, experts] : read_routing(routing_of_step(other.record, 0), other.program)) {
    for (std::size_t i = 0; i < experts.size(); ++i) num_differing += experts[i] != chose.at(layer)[i] ? 1 : 0;
  }
  EXPECT_GT(num_differing, 0);
  other.replay = one.record;
  other.record = "";
  const Curve replayed = train(other);
  double largest = 0.0;
  for (std::size_t i = 0; i < want.losses.size(); ++i) {
    EXPECT_NEAR(replayed.losses[i], want.losses[i], 1e-5 * want.losses[i]) << i;
    EXPECT_NEAR(replayed.norms[i], want.norms[i], 1e-5 * want.norms[i]) << i;
    largest = std::max(largest, std::abs(parted.losses[i] / want.losses[i] - 1.0));
  }
  EXPECT_GT(largest, 1e-5);
  std::printf("%d choices differ; losses by %.1e without replay, %.1e with\n", static_cast<int>(num_differing), largest,
              std::abs(replayed.losses.back() / want.losses.back() - 1.0));
}

TEST(RoutingReplay, NamesWhatIsWrongWithARecord) {
  const Model model = small_model();
  const StepProgram program = on_one_rank(model);
  const TestFolder folder;
  Choices choices;
  for (const std::int64_t layer : routed_layers(program)) {
    choices[layer].resize(static_cast<std::size_t>(kBatch.seq * kBatch.global_batch * 2));
    for (std::size_t i = 0; i < choices[layer].size(); ++i) choices[layer][i] = static_cast<std::int32_t>(i % 2);
  }
  const auto file = [&](std::int64_t step) { return routing_of_step(folder.path(), step); };
  write_routing(file(0), program, choices);
  EXPECT_EQ(error_of(folder, [&] { check_routing(folder.path(), program, 0, 1); }), "");
  EXPECT_EQ(read_routing(file(0), program), choices);

  Model other = model;
  other.moe->num_experts = 4;
  other.layers.push_back(LayerKind::moe);
  EXPECT_EQ(error_of(folder, [&] { check_routing(folder.path(), on_one_rank(other), 0, 2); }),
            "step_00000000.safetensors: expected num_experts 4, got 8\n"
            "step_00000000.safetensors: missing tensor 'layers.4'\n"
            "step_00000001.safetensors: expected a readable file, got: No such file or directory");
  other = model;
  other.moe->top_k = 1;
  other.layers.pop_back();
  other.layers.front() = LayerKind::moe;
  EXPECT_EQ(
      error_of(folder, [&] { check_routing(folder.path(), on_one_rank(other), 0, 1); }),
      "step_00000000.safetensors: missing tensor 'layers.0'\n"
      "step_00000000.safetensors: tensor 'layers.1': expected 8 x 16 x 1 of type I32, got 8 x 16 x 2 of type I32\n"
      "step_00000000.safetensors: tensor 'layers.2': expected 8 x 16 x 1 of type I32, got 8 x 16 x 2 of type I32\n"
      "step_00000000.safetensors: unknown tensor 'layers.3'");

  const std::vector<std::byte> zeros(static_cast<std::size_t>(kBatch.seq * kBatch.global_batch * 2 * 4));
  const std::vector<std::int64_t> shape = {kBatch.global_batch, kBatch.seq, 2};
  std::vector<TensorToWrite> tensors;
  for (const auto& [layer, experts] : choices) {
    tensors.push_back({fmt::format("layers.{}", layer), StoredType::i32, shape, zeros});
  }
  tensors.back().type = StoredType::f32;
  write_safetensors(file(0).string(), {{"schema", "routing/2"}, {"num_experts", "8"}}, tensors);
  EXPECT_EQ(
      error_of(folder, [&] { check_routing(folder.path(), program, 0, 1); }),
      "step_00000000.safetensors: expected schema routing/1, got routing/2\n"
      "step_00000000.safetensors: tensor 'layers.3': expected 8 x 16 x 2 of type I32, got 8 x 16 x 2 of type F32");

  choices[2][6] = 1;  // twice, since 7 has it, too
  write_routing(file(0), program, choices);
  EXPECT_EQ(error_of(folder, [&] { read_routing(file(0), program); }),
            "step_00000000.safetensors: tensor 'layers.2', token 3: expected 2 different experts of 8, got 1");
  choices[2][6] = 8;
  write_routing(file(0), program, choices);
  EXPECT_EQ(error_of(folder, [&] { read_routing(file(0), program); }),
            "step_00000000.safetensors: tensor 'layers.2', token 3: expected 2 different experts of 8, got 1 8");
  Model dense = model;
  dense.layers.assign(2, LayerKind::dense);
  dense.moe = std::nullopt;
  EXPECT_EQ(error_of(folder, [&] { start_routing(folder / "x", on_one_rank(dense)); }),
            "routing of small: no layer has experts");
}

}  // namespace
}  // namespace orrery::executor
