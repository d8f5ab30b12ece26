// SPDX-License-Identifier: Apache-2.0
// How fast SimGrid runs a step of DeepSeek-V3 on 2048 H800 (pp 16, ep 64, 1F1B): by number of micro-batches and
// fidelity. The counters are ops and simulated seconds; peak memory is the process's.
//     build/release/bin/simgrid_benchmark --benchmark_counters_tabular=true
#include "costmodel/calibrated_cost_model.h"
#include "costmodel/calibration.h"
#include "costmodel/op_times.h"
#include "program/hf_config.h"
#include "program/lower.h"
#include "sim/engine.h"

#include <benchmark/benchmark.h>
#include <sys/resource.h>

namespace orrery {
namespace {

const std::filesystem::path kCatalog = std::filesystem::path(ORRERY_SOURCE_DIR) / "catalog";

/// The program of one step with `micro_batches` sequences for each of the 128 data-parallel ranks.
StepProgram deepseek_v3(std::int64_t micro_batches) {
  const Model model = read_model(kCatalog / "models/deepseek-v3.json");
  Strategy strategy;
  strategy.pp = 16;
  strategy.ep = 64;
  strategy.zero_dense = strategy.zero_expert = 1;
  strategy.stages = even_stages(model.num_layers(), strategy.pp);
  return lower(model, strategy, {.seq = 4096, .global_batch = 128 * micro_batches}, 2048);
}

costmodel::TimedProgram timed(const StepProgram& program, const Cluster& cluster) {
  const costmodel::CalibratedCostModel model(cluster, costmodel::read_calibration(kCatalog / "calibration/h800.json"));
  return time_program(program, model, cluster, {}, {});
}

template <class Run>
void run_step(benchmark::State& state, Run run) {
  const Cluster cluster = read_cluster(kCatalog / "clusters/h800-2048.json", kCatalog);
  const StepProgram program = deepseek_v3(state.range(0));
  const costmodel::TimedProgram timed_program = timed(program, cluster);
  Seconds makespan;
  for (auto _ : state) makespan = run(timed_program, cluster);
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  state.counters["ops"] = static_cast<double>(program.num_ops());
  state.counters["step_s"] = makespan.in(unit::second);
  state.counters["peak_MB"] = static_cast<double>(usage.ru_maxrss) / 1024.0;
  state.SetItemsProcessed(state.iterations() * program.num_ops());
}

void analytic(benchmark::State& state) {
  run_step(state,
           [](const costmodel::TimedProgram& program, const Cluster&) { return run_events(program, false).makespan; });
}

void simgrid(benchmark::State& state) {
  const auto fidelity = state.range(1) == 0 ? sim::Fidelity::l0 : sim::Fidelity::l1;
  run_step(state, [&](const costmodel::TimedProgram& program, const Cluster& cluster) {
    return run_on_simgrid(program, cluster, fidelity, false).makespan;
  });
}

BENCHMARK(analytic)->ArgName("micro_batches")->Arg(12)->Arg(120)->Unit(benchmark::kMillisecond);
BENCHMARK(simgrid)->ArgNames({"micro_batches", "L"})->ArgsProduct({{12, 120}, {0, 1}})->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace orrery
