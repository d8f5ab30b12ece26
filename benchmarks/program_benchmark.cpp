// SPDX-License-Identifier: Apache-2.0
// The step program of DeepSeek-V3 with 120 micro-batches on 2048 and 16 384 devices, under 1F1B, under DualPipe, and
// with every dimension in use: lower, verify, hash, replay its memory.
#include "program/hf_config.h"
#include "program/lower.h"
#include "program/memory_replay.h"
#include "program/verify.h"

#include <benchmark/benchmark.h>

namespace orrery {
namespace {

enum Kind : std::int64_t { kOneForwardOneBackward, kDualPipe, kEveryDimension };

struct Case {
  Model model = read_model(ORRERY_SOURCE_DIR "/catalog/models/deepseek-v3.json");
  Strategy strategy;
  BatchShape batch{.seq = 4096, .global_batch = 15360};
  std::int64_t num_devices = 2048;

  /// Arguments: kind, devices.
  explicit Case(const benchmark::State& state) : num_devices(state.range(1)) {
    const std::int64_t kind = state.range(0);
    batch.global_batch = num_devices / 2048 * 15360;
    strategy.pp = 16;
    strategy.ep = 64;
    strategy.zero_dense = strategy.zero_expert = 1;
    if (kind != kOneForwardOneBackward) strategy.schedule = Schedule::dualpipe;
    strategy.stages = even_stages(model.num_layers(), strategy.pp);
    if (kind != kEveryDimension) return;
    strategy.tp = 2;
    strategy.sp = true;
    strategy.cp = 2;
    batch.global_batch /= 4;  // 120 micro-batches all the same
    strategy.etp = 2;
    strategy.zero_expert = 3;
    strategy.dispatcher = Dispatcher::two_level;
    strategy.precision = DType::fp8;
    strategy.mtp = Mtp::on;
    strategy.stages = with_mtp(strategy.stages, model.num_mtp_modules);
    for (StageLayout& stage : strategy.stages)
      stage.recompute = {RecomputeModule::mla_up_proj, RecomputeModule::moe_act};
  }
  StepProgram program() const { return lower(model, strategy, batch, num_devices); }
};

void count_ops(benchmark::State& state, const StepProgram& program) {
  state.counters["ops"] = static_cast<double>(program.num_ops());
  state.SetItemsProcessed(state.iterations() * program.num_ops());
}

void cases(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"kind", "devices"})->Unit(benchmark::kMillisecond);
  for (const std::int64_t kind : {kOneForwardOneBackward, kDualPipe, kEveryDimension}) {
    for (const std::int64_t num_devices : {2048, 16384}) benchmark->Args({kind, num_devices});
  }
}

void lower_deepseek_v3(benchmark::State& state) {
  const Case given(state);
  for (auto _ : state) benchmark::DoNotOptimize(given.program().num_ops());
  count_ops(state, given.program());
}
BENCHMARK(lower_deepseek_v3)->Apply(cases);

void verify_deepseek_v3(benchmark::State& state) {
  const StepProgram program = Case(state).program();
  for (auto _ : state) benchmark::DoNotOptimize(verify(program).size());
  count_ops(state, program);
}
BENCHMARK(verify_deepseek_v3)->Apply(cases);

void hash_deepseek_v3(benchmark::State& state) {
  const StepProgram program = Case(state).program();
  for (auto _ : state) benchmark::DoNotOptimize(hash_of(program).size());
  count_ops(state, program);
}
BENCHMARK(hash_deepseek_v3)->Apply(cases);

void replay_memory_of_deepseek_v3(benchmark::State& state) {
  const StepProgram program = Case(state).program();
  for (auto _ : state) {
    for (const RankClass& c : program.classes) benchmark::DoNotOptimize(replay_memory(c, 4096.0 * 8.0).bytes);
  }
  count_ops(state, program);
}
BENCHMARK(replay_memory_of_deepseek_v3)->Apply(cases);

}  // namespace
}  // namespace orrery
