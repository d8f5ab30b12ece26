// SPDX-License-Identifier: Apache-2.0
#include "costmodel/memory.h"

#include "base/errors.h"
#include "costmodel/activation_memory.h"
#include "program/arrivals.h"
#include "program/hf_config.h"
#include "program/legality.h"
#include "program/lower.h"
#include "program/memory_replay.h"

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

constexpr MemoryModel kExact{.rho = 1.0, .fragmentation = 0.0, .reserve = {}};

Model model_of(const std::string& file) { return read_model(std::string(ORRERY_SOURCE_DIR) + "/" + file); }

Strategy strategy_of(const Model& model, std::int64_t pp, std::int64_t ep, Schedule schedule,
                     const std::set<RecomputeModule>& recompute) {
  Strategy strategy;
  strategy.pp = pp;
  strategy.ep = ep;
  strategy.schedule = schedule;
  strategy.stages = even_stages(model.num_layers(), pp);
  for (StageLayout& stage : strategy.stages) stage.recompute = recompute;
  return strategy;
}

// The formulas and the program's own tensors know nothing of each other.
TEST(Memory, AgreesWithTheReplayOfTheProgramToTheByte) {
  using R = RecomputeModule;
  const std::vector<std::set<R>> recomputes = {
      {},       {R::full}, {R::layernorm}, {R::core_attn},      {R::mla_up_proj},
      {R::mlp}, {R::moe},  {R::moe_act},   {R::shared_experts}, {R::layernorm, R::moe_act, R::mla_up_proj}};
  int num_compared = 0;
  for (const char* file :
       {"catalog/models/deepseek-v3.json", "catalog/models/mixtral-8x7b.json", "catalog/models/qwen3-30b-a3b.json",
        "catalog/models/llama3-8b.json", "tests/data/models/qwen1.5-moe-a2.7b.json"}) {
    const Model model = model_of(file);
    const BatchShape batch{.seq = 512, .global_batch = 24};
    for (const std::set<R>& recompute : recomputes) {
      for (const Schedule schedule : {Schedule::gpipe, Schedule::one_f_one_b}) {
        for (const std::int64_t ep : {1, 4}) {
          const Strategy strategy = strategy_of(model, 4, ep, schedule, recompute);
          if (!violations(model, strategy, batch, 16).empty()) continue;
          ++num_compared;
          const StepProgram program = lower(model, strategy, batch, 16);
          const auto stages = memory_per_stage(model, strategy, batch, program.mesh, kExact);
          const std::int64_t pairs = model.moe ? batch.seq * model.moe->top_k : 0;
          for (std::size_t r = 0; r < stages.size(); ++r) {
            const Bytes replayed = replay_memory(program.classes[r], static_cast<double>(pairs)).bytes;
            EXPECT_EQ(stages[r].activations + stages[r].transients, replayed)
                << file << " stage " << r << " ep " << ep << " schedule " << name_of(schedule) << " recompute "
                << (recompute.empty() ? "none" : name_of(*recompute.begin()));
          }
        }
      }
    }
  }
  EXPECT_GT(num_compared, 100);
}

TEST(Memory, CountsStatesAsTheirFormulas) {
  // One rank: 18 bytes for each parameter. ZeRO-1 on 8 ranks: 6 + 12 / 8 for dense ones, 6 + 12 / 2 for experts.
  const Model model = model_of("catalog/models/mixtral-8x7b.json");
  const double experts = 32.0 * 8 * 3 * 4096 * 14336, all = 46702792704.0;
  Strategy strategy = strategy_of(model, 1, 1, Schedule::one_f_one_b, {});
  const BatchShape batch{.seq = 4096, .global_batch = 8};
  const auto one = memory_per_stage(model, strategy, batch, Mesh(strategy, 1), kExact);
  EXPECT_EQ(one[0].states(), bytes(18.0 * all));
  strategy.ep = 4;
  strategy.zero_dense = strategy.zero_expert = 1;
  const auto eight = memory_per_stage(model, strategy, batch, Mesh(strategy, 8), kExact);
  EXPECT_EQ(eight[0].states(), bytes((6.0 + 12.0 / 8) * (all - experts) + (6.0 + 12.0 / 2) * experts / 4));
}

TEST(Memory, CountsRouterBiasesAsBuffersWithoutStates) {
  const Model model = model_of("catalog/models/deepseek-v3.json");
  Strategy strategy = strategy_of(model, 1, 1, Schedule::one_f_one_b, {});
  const auto one = memory_per_stage(model, strategy, {.seq = 1, .global_batch = 1}, Mesh(strategy, 1), kExact);
  EXPECT_EQ(one[0].weights, bytes(2.0 * 671026404352.0 + 4.0 * 14848.0));
}

TEST(Memory, AddsWhatAGpuTakesBesides) {
  const Model model = model_of("catalog/models/llama3-8b.json");
  const Strategy strategy = strategy_of(model, 2, 1, Schedule::one_f_one_b, {});
  const BatchShape batch{.seq = 4096, .global_batch = 16};
  const auto exact = memory_per_stage(model, strategy, batch, Mesh(strategy, 8), kExact);
  const auto gpu = memory_per_stage(model, strategy, batch, Mesh(strategy, 8), {});
  EXPECT_NEAR(gpu[0].total() / (1.04 * exact[0].total() + gib(2)), 1.0, 1e-12);
  EXPECT_EQ(exact[0].communication, bytes(4096.0 * 4096 * 2));  // one neighbour
  EXPECT_EQ(fullest(gpu), std::max(gpu[0].total(), gpu[1].total()));
  Device cpu;
  cpu.kind = DeviceKind::cpu;
  EXPECT_EQ(MemoryModel::of(cpu).fragmentation, 0.0);
  EXPECT_EQ(MemoryModel::of(cpu).reserve, Bytes::zero());
}

TEST(Memory, CountsInputsAndOutputsOfCapturedGraphs) {
  const Model model = model_of("catalog/models/llama3-8b.json");
  Strategy strategy = strategy_of(model, 2, 1, Schedule::one_f_one_b, {});
  const BatchShape batch{.seq = 4096, .global_batch = 32};
  const Mesh mesh(strategy, 8);
  EXPECT_EQ(memory_per_stage(model, strategy, batch, mesh, kExact)[0].graphs, Bytes());
  strategy.cuda_graphs = true;
  const auto ranks = memory_per_stage(model, strategy, batch, mesh, kExact);
  const double stream = 4096.0 * 4096 * 2;
  EXPECT_EQ(ranks[0].graphs, bytes(2.0 * stream * 16 * 2));  // 16 layers, two micro-batches
  EXPECT_EQ(ranks[1].graphs, bytes(2.0 * stream * 16));
}

TEST(Memory, SaysWhichStageDoesNotFit) {
  Device device;
  device.name = "d";
  device.memory = gib(80);
  std::vector<MemoryByCause> stages(2);
  stages[0].weights = gib(70);
  stages[1].activations = gib(79);
  EXPECT_FALSE(why_it_does_not_fit(stages, device));
  stages[1].weights = gib(12.2);
  EXPECT_EQ(*why_it_does_not_fit(stages, device), "pipeline rank 1 needs 91.2 GiB, device has 80.0 GiB");
  device.memory.reset();
  try {
    why_it_does_not_fit(stages, device);
    FAIL() << "an unknown memory was taken for one";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "device \"d\": memory is unknown (null): expected a size, to say what fits");
  }
}

TEST(Memory, GivesThePeakOfALoweredProgram) {
  const Model model = model_of("catalog/models/llama3-8b.json");
  const Strategy strategy = strategy_of(model, 2, 1, Schedule::one_f_one_b, {});
  const BatchShape batch{.seq = 512, .global_batch = 16};
  const StepProgram program = lower(model, strategy, batch, 8);
  Bytes largest;
  for (const MemoryByCause& stage : memory_per_stage(model, strategy, batch, program.mesh, kExact)) {
    largest = std::max(largest, stage.total() - stage.communication);
  }
  EXPECT_EQ(peak_memory(program), largest);
}

TEST(Memory, OfALoadedProgramIsThatOfTheFullestRank) {
  const Model model = model_of("catalog/models/mixtral-8x7b.json");
  const Strategy strategy = strategy_of(model, 4, 4, Schedule::one_f_one_b, {});
  const StepProgram program = lower(model, strategy, {.seq = 512, .global_batch = 16}, 16);
  EXPECT_EQ(peak_memory(program, BalancedLoad{}), peak_memory(program));
  // The states of all stages are equal up to the ends, and the first stage has the most micro-batches in flight.
  const LoadModel load = DirichletLoad{.alpha = 1.0, .seed = 4};
  const std::vector<RankId> ranks = {RankId(0), RankId(1), RankId(2), RankId(3)};
  Bytes fullest_activations;
  for (const Arrivals& arrivals : arrivals_of(program, ranks, load)) {
    fullest_activations = std::max(fullest_activations, replay_memory(program.classes[0], arrivals).bytes);
  }
  const Bytes balanced = replay_memory(program.classes[0], Arrivals::balanced()).bytes;
  EXPECT_GT(fullest_activations, 1.05 * balanced);
  EXPECT_EQ(peak_memory(program, load) - peak_memory(program), fullest_activations - balanced);
}

TEST(Memory, OneNumberForAllLayersIsCloseToTheLoadsLayerByLayer) {
  const Model model = model_of("catalog/models/mixtral-8x7b.json");
  const Strategy strategy = strategy_of(model, 4, 4, Schedule::one_f_one_b, {});
  const BatchShape batch{.seq = 512, .global_batch = 16};
  const StepProgram program = lower(model, strategy, batch, 16);
  const LoadModel load = DirichletLoad{.alpha = 1.0, .seed = 4};
  MemoryModel parameters = kExact;
  parameters.rho = FullestShare(model, load).of(strategy);
  Bytes formula;
  for (const MemoryByCause& stage : memory_per_stage(model, strategy, batch, program.mesh, parameters)) {
    formula = std::max(formula, stage.total() - stage.communication);
  }
  EXPECT_GT(parameters.rho, 1.1);
  EXPECT_NEAR(formula / peak_memory(program, load), 1.0, 0.02);
}

}  // namespace
}  // namespace orrery::costmodel
