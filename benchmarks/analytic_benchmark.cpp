// SPDX-License-Identifier: Apache-2.0
// How fast the cost model answers a search: a step of DeepSeek-V3 on 2048 GPUs with 120 micro-batches (412 thousand
// ops of 16 rank classes), resolved and run; and the closed form and the memory of the same plan.
#include "costmodel/cached_cost_model.h"
#include "costmodel/calibrated_cost_model.h"
#include "costmodel/closed_form.h"
#include "costmodel/memory.h"
#include "costmodel/op_times.h"
#include "program/hf_config.h"
#include "program/lower.h"

#include <string>

#include <benchmark/benchmark.h>

namespace orrery::costmodel {
namespace {

std::string repository_file(const std::string& path) { return std::string(ORRERY_SOURCE_DIR) + "/" + path; }

struct DeepSeekV3 {
  Model model = read_model(repository_file("catalog/models/deepseek-v3.json"));
  Cluster cluster = read_cluster(repository_file("catalog/clusters/h800-2048.json"), repository_file("catalog"));
  CalibratedCostModel cost{cluster, read_calibration(repository_file("catalog/calibration/h800.json"))};
  BatchShape batch{.seq = 4096, .global_batch = 15360};
  Strategy strategy = [this] {
    Strategy s;
    s.pp = 16;
    s.ep = 64;
    s.zero_dense = s.zero_expert = 1;
    s.stages = even_stages(model.num_layers(), s.pp);
    return s;
  }();
  StepProgram program = lower(model, strategy, batch, 2048);
};

const DeepSeekV3& plan() {
  static const DeepSeekV3 the_plan;
  return the_plan;
}

void TimeProgram(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(time_program(plan().program, plan().cost, plan().cluster, {}, {}));
  }
  state.SetItemsProcessed(state.iterations() * plan().program.num_ops());
}
BENCHMARK(TimeProgram)->Unit(benchmark::kMillisecond);

/// Without slowdown it is one pass over the ops, with it the event simulation.
void RunStep(benchmark::State& state) {
  const bool keep_times = state.range(0) != 0;
  TimedProgram timed = time_program(plan().program, plan().cost, plan().cluster, {}, {});
  if (state.range(1) == 0) {
    for (TimedRank& rank : timed.ranks) {
      rank.overlap = {};
      rank.slowdown = {};
    }
  }
  for (auto _ : state) benchmark::DoNotOptimize(run_step(timed, keep_times));
  state.SetItemsProcessed(state.iterations() * plan().program.num_ops());
}
BENCHMARK(RunStep)
    ->Args({0, 0})
    ->Args({1, 0})
    ->Args({0, 1})
    ->Args({1, 1})
    ->ArgNames({"keep", "slowdown"})
    ->Unit(benchmark::kMillisecond);

void ClosedForm(benchmark::State& state) {
  const CachedCostModel cached(plan().cost);
  const DeepSeekV3& p = plan();
  for (auto _ : state) {
    benchmark::DoNotOptimize(estimate_closed(p.model, p.strategy, p.batch, p.program.mesh, cached));
  }
}
BENCHMARK(ClosedForm)->Unit(benchmark::kMicrosecond);

/// By schedule: 1F1B, ZB-H1, DualPipe.
void MemoryPerStage(benchmark::State& state) {
  const DeepSeekV3& p = plan();
  Strategy strategy = p.strategy;
  strategy.schedule = static_cast<Schedule>(state.range(0));
  state.SetLabel(std::string(name_of(strategy.schedule)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(memory_per_stage(p.model, strategy, p.batch, p.program.mesh, {}));
  }
}
BENCHMARK(MemoryPerStage)
    ->Arg(static_cast<int>(Schedule::one_f_one_b))
    ->Arg(static_cast<int>(Schedule::zb_h1))
    ->Arg(static_cast<int>(Schedule::dualpipe))
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace orrery::costmodel
