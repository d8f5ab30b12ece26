// SPDX-License-Identifier: Apache-2.0
// The step program of DeepSeek-V3 on 2048 devices, 120 micro-batches, under 1F1B and under DualPipe: lower, verify,
// hash, replay its memory.
#include "program/hf_config.h"
#include "program/lower.h"
#include "program/memory_replay.h"
#include "program/verify.h"

#include <benchmark/benchmark.h>

namespace orrery {
namespace {

struct Case {
  Model model = read_model(ORRERY_SOURCE_DIR "/catalog/models/deepseek-v3.json");
  Strategy strategy;
  BatchShape batch{.seq = 4096, .global_batch = 15360};

  explicit Case(Schedule schedule) {
    strategy.schedule = schedule;
    strategy.pp = 16;
    strategy.ep = 64;
    strategy.zero_dense = strategy.zero_expert = 1;
    strategy.stages = even_stages(model.num_layers(), strategy.pp);
  }
  StepProgram program() const { return lower(model, strategy, batch, 2048); }
};

void count_ops(benchmark::State& state, const StepProgram& program) {
  state.counters["ops"] = static_cast<double>(program.num_ops());
  state.SetItemsProcessed(state.iterations() * program.num_ops());
}

template <Schedule schedule>
void lower_deepseek_v3(benchmark::State& state) {
  const Case given(schedule);
  for (auto _ : state) benchmark::DoNotOptimize(given.program().num_ops());
  count_ops(state, given.program());
}
BENCHMARK(lower_deepseek_v3<Schedule::one_f_one_b>)->Unit(benchmark::kMillisecond);
BENCHMARK(lower_deepseek_v3<Schedule::dualpipe>)->Unit(benchmark::kMillisecond);

template <Schedule schedule>
void verify_deepseek_v3(benchmark::State& state) {
  const StepProgram program = Case(schedule).program();
  for (auto _ : state) benchmark::DoNotOptimize(verify(program).size());
  count_ops(state, program);
}
BENCHMARK(verify_deepseek_v3<Schedule::one_f_one_b>)->Unit(benchmark::kMillisecond);
BENCHMARK(verify_deepseek_v3<Schedule::dualpipe>)->Unit(benchmark::kMillisecond);

template <Schedule schedule>
void hash_deepseek_v3(benchmark::State& state) {
  const StepProgram program = Case(schedule).program();
  for (auto _ : state) benchmark::DoNotOptimize(hash_of(program).size());
  count_ops(state, program);
}
BENCHMARK(hash_deepseek_v3<Schedule::one_f_one_b>)->Unit(benchmark::kMillisecond);
BENCHMARK(hash_deepseek_v3<Schedule::dualpipe>)->Unit(benchmark::kMillisecond);

template <Schedule schedule>
void replay_memory_of_deepseek_v3(benchmark::State& state) {
  const StepProgram program = Case(schedule).program();
  for (auto _ : state) {
    for (const RankClass& c : program.classes) benchmark::DoNotOptimize(replay_memory(c, 4096.0 * 8.0).bytes);
  }
  count_ops(state, program);
}
BENCHMARK(replay_memory_of_deepseek_v3<Schedule::one_f_one_b>)->Unit(benchmark::kMillisecond);
BENCHMARK(replay_memory_of_deepseek_v3<Schedule::dualpipe>)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace orrery
