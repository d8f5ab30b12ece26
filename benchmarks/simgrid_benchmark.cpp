// SPDX-License-Identifier: Apache-2.0
// How fast SimGrid runs: a step of DeepSeek-V3 (pp 16, ep 64, 1F1B) on 2048 and 16 384 H800, by number of micro-batches
// and fidelity; single collectives of 1 GiB; the platform alone. The counters are ops and simulated seconds; peak
// memory is the process's so far: ask for one case at a time where it matters.
//     build/release/bin/simgrid_benchmark --benchmark_counters_tabular=true
#include "costmodel/calibrated_cost_model.h"
#include "costmodel/calibration.h"
#include "costmodel/op_times.h"
#include "program/hf_config.h"
#include "program/lower.h"
#include "sim/engine.h"
#include "sim/network.h"
#include "sim/simgrid_kernel.h"

#include <memory>

#include <benchmark/benchmark.h>
#include <sys/resource.h>

namespace orrery {
namespace {

const std::filesystem::path kCatalog = std::filesystem::path(ORRERY_SOURCE_DIR) / "catalog";

/// H800 in as many nodes as `num_devices` need.
Cluster h800(std::int64_t num_devices) {
  Cluster cluster = read_cluster(kCatalog / "clusters/h800-2048.json", kCatalog);
  cluster.groups.front().num_nodes = num_devices / cluster.groups.front().devices_per_node;
  return cluster;
}

/// The program of one step with `micro_batches` sequences for each data-parallel rank.
StepProgram deepseek_v3(std::int64_t num_devices, std::int64_t micro_batches) {
  const Model model = read_model(kCatalog / "models/deepseek-v3.json");
  Strategy strategy;
  strategy.pp = 16;
  strategy.ep = 64;
  strategy.zero_dense = strategy.zero_expert = 1;
  strategy.stages = even_stages(model.num_layers(), strategy.pp);
  return lower(model, strategy, {.seq = 4096, .global_batch = num_devices / 16 * micro_batches}, num_devices);
}

/// One collective of all ranks on 1 GiB.
StepProgram one_collective(std::int64_t num_ranks, CollectiveKind kind) {
  StepProgram program{.model = {},
                      .strategy = {},
                      .batch = {.seq = 1, .global_batch = num_ranks},
                      .mesh = Mesh({}, num_ranks),
                      .num_micro_batches = 1,
                      .shapes = {CollectiveShape{.kind = kind, .bytes = std::int64_t{1} << 30}},
                      .classes = {}};
  RankClass& all = program.classes.emplace_back();
  all.stages = {0};
  all.ops = {{.key = {.op = OpCode::dp_grad_ar}, .queue = Queue::world, .shape = 0}};
  all.dep_begin = all.use_begin = {0, 0};
  return program;
}

costmodel::TimedProgram timed(const StepProgram& program, const Cluster& cluster, const RunInput& input) {
  const costmodel::CalibratedCostModel model(cluster, costmodel::read_calibration(kCatalog / "calibration/h800.json"));
  return time_program(program, model, cluster, {}, input);
}

template <class Run>
void run_step(benchmark::State& state, const StepProgram& program, const Cluster& cluster, const RunInput& input,
              Run run) {
  const costmodel::TimedProgram timed_program = timed(program, cluster, input);
  Seconds makespan;
  for (auto _ : state) makespan = run(timed_program, cluster);
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  std::int64_t num_ops = 0;
  for (const costmodel::TimedRank& rank : timed_program.ranks) num_ops += std::ssize(rank.meeting);
  state.counters["ops"] = static_cast<double>(num_ops);
  state.counters["ranks"] = static_cast<double>(timed_program.ranks.size());
  state.counters["step_s"] = makespan.in(unit::second);
  state.counters["peak_MB"] = static_cast<double>(usage.ru_maxrss) / 1024.0;
  state.SetItemsProcessed(state.iterations() * num_ops);
}

void analytic(benchmark::State& state) {
  run_step(state, deepseek_v3(2048, state.range(0)), h800(2048), {},
           [](const costmodel::TimedProgram& program, const Cluster&) { return run_events(program, false).makespan; });
}

/// The state's argument `index`, as a fidelity.
Fidelity fidelity_of(const benchmark::State& state, std::size_t index) {
  return static_cast<Fidelity>(state.range(index));
}

void run_on_simgrid(benchmark::State& state, const StepProgram& program, std::int64_t num_devices,
                    const RunInput& input, Fidelity fidelity, bool replay = true) {
  run_step(state, program, h800(num_devices), input,
           [&](const costmodel::TimedProgram& timed_program, const Cluster& cluster) {
             return sim::run_on_simgrid(timed_program, cluster, fidelity, false, replay).makespan;
           });
}

void simgrid(benchmark::State& state) {
  run_on_simgrid(state, deepseek_v3(2048, state.range(0)), 2048, {}, fidelity_of(state, 1));
}

/// Without copies of a phase that repeats itself.
void every_phase(benchmark::State& state) {
  run_on_simgrid(state, deepseek_v3(2048, state.range(0)), 2048, {}, fidelity_of(state, 1), false);
}

/// Rank 100 is 30 % slower: more ranks are simulated.
void straggler(benchmark::State& state) {
  run_on_simgrid(state, deepseek_v3(2048, state.range(0)), 2048,
                 {.disturbances = {.stragglers = {{.rank = 100, .factor = 1.3}}}}, Fidelity::l1);
}

void many_devices(benchmark::State& state) {
  run_on_simgrid(state, deepseek_v3(16384, state.range(0)), 16384, {}, fidelity_of(state, 1));
}

/// Each of the 16 data-parallel replicas for itself.
void all_replicas(benchmark::State& state) {
  run_on_simgrid(state, deepseek_v3(16384, state.range(0)), 16384, {.all_replicas = true}, fidelity_of(state, 1));
}

void all_to_all(benchmark::State& state) {
  run_on_simgrid(state, one_collective(state.range(0), CollectiveKind::all_to_all), state.range(0), {.all_ranks = true},
                 fidelity_of(state, 1));
}

void all_reduce(benchmark::State& state) {
  run_on_simgrid(state, one_collective(state.range(0), CollectiveKind::all_reduce), state.range(0), {.all_ranks = true},
                 fidelity_of(state, 1));
}

/// An all-to-all of nodes with a device each, at L2: below leaves of 16 on hashed paths, or on a torus of 8 x N.
void routed(benchmark::State& state) {
  Cluster cluster = h800(8 * state.range(0));
  NodeGroup& group = cluster.groups.front();
  group.devices_per_node = group.nics->per_node = group.nics->rails = 1;
  const bool torus = state.range(1) != 0;
  cluster.fabric = {.kind = torus ? FabricKind::torus : FabricKind::fat_tree, .nodes_per_leaf = torus ? 1 : 16};
  if (torus) {
    cluster.fabric.dimensions = {8, state.range(0) / 8};
    cluster.fabric.link = group.nics->each;
    cluster.fabric.hop_latency = microseconds(1);
  }
  const sim::PathSeed seed = torus ? sim::PathSeed() : sim::PathSeed(0);
  run_step(state, one_collective(state.range(0), CollectiveKind::all_to_all), cluster, {.all_ranks = true},
           [&](const costmodel::TimedProgram& timed_program, const Cluster& of) {
             return sim::run_on_simgrid(timed_program, of, Fidelity::l2, false, true, seed).makespan;
           });
}

/// Every device with a lane, as at L3, and nothing else. Without taking it down again.
void platform(benchmark::State& state) {
  const Cluster cluster = h800(state.range(0));
  std::unique_ptr<sim::SimGridKernel> kernel;
  for (auto _ : state) {
    std::vector<sim::Site> sites;
    for (std::int64_t node = 0; node < cluster.groups.front().num_nodes; ++node) {
      sites.push_back({.node = node});
      for (std::int64_t device = 0; device < cluster.groups.front().devices_per_node; ++device) {
        sites.push_back({.node = node, .device = device, .num_lanes = 1});
      }
    }
    kernel =
        std::make_unique<sim::SimGridKernel>(sim::Network(cluster, std::move(sites), {true, true, true}), unit::second);
    state.PauseTiming();
    kernel = nullptr;
    state.ResumeTiming();
  }
}

BENCHMARK(analytic)->ArgName("micro_batches")->Arg(12)->Arg(120)->Unit(benchmark::kMillisecond);
BENCHMARK(simgrid)->ArgNames({"micro_batches", "L"})->ArgsProduct({{12, 120}, {0, 1}})->Unit(benchmark::kMillisecond);
BENCHMARK(simgrid)->ArgNames({"micro_batches", "L"})->ArgsProduct({{12}, {2, 3}})->Unit(benchmark::kMillisecond);
BENCHMARK(every_phase)->ArgNames({"micro_batches", "L"})->ArgsProduct({{120}, {0, 1}})->Unit(benchmark::kMillisecond);
BENCHMARK(straggler)->ArgName("micro_batches")->Arg(12)->Arg(120)->Unit(benchmark::kMillisecond);
BENCHMARK(many_devices)->ArgNames({"micro_batches", "L"})->Args({120, 1})->Unit(benchmark::kMillisecond);
BENCHMARK(all_replicas)->ArgNames({"micro_batches", "L"})->Args({120, 1})->Unit(benchmark::kMillisecond);
BENCHMARK(all_to_all)
    ->ArgNames({"ranks", "L"})
    ->ArgsProduct({{16, 64, 256, 1024}, {1, 2, 3}})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(all_reduce)
    ->ArgNames({"ranks", "L"})
    ->ArgsProduct({{16, 64, 256, 1024}, {1, 3}})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(routed)->ArgNames({"nodes", "torus"})->ArgsProduct({{64, 128}, {0, 1}})->Unit(benchmark::kMillisecond);
BENCHMARK(platform)->ArgName("devices")->Arg(2048)->Arg(16384)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace orrery
