// SPDX-License-Identifier: Apache-2.0
// How many strategies a search evaluates in a second, for DeepSeek-V3 on 2048 H800. An evaluation is a complete
// strategy with the memory of every stage and a bound of its time; what was pruned, and what was illegal, counts
// nothing.
#include "costmodel/analytic_interpreter.h"
#include "costmodel/cached_cost_model.h"
#include "costmodel/calibrated_cost_model.h"
#include "costmodel/closed_form.h"
#include "costmodel/memory.h"
#include "planner/operator_choices.h"
#include "planner/pipeline_scan.h"
#include "planner/search.h"
#include "program/arrivals.h"
#include "program/hf_config.h"
#include "program/mesh.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <variant>

#include <benchmark/benchmark.h>

namespace orrery::planner {
namespace {

constexpr std::int64_t kNumDevices = 2048;
constexpr std::size_t kRoom = 16384;  // as a search

std::string repository_file(const std::string& path) { return std::string(ORRERY_SOURCE_DIR) + "/" + path; }

struct DeepSeekV3 {
  Model model = read_model(repository_file("catalog/models/deepseek-v3.json"));
  Cluster cluster = read_cluster(repository_file("catalog/clusters/h800-2048.json"), repository_file("catalog"));
  std::shared_ptr<const costmodel::CalibratedCostModel> cost = std::make_shared<costmodel::CalibratedCostModel>(
      cluster, costmodel::read_calibration(repository_file("catalog/calibration/h800.json")));
  BatchShape batch{.seq = 4096, .global_batch = 15360};
  Domains domains = domains_of(model, cluster, batch);
  FullestShare fullest_share{model, BalancedLoad{}};
  FamilyContext context{.model = model,
                        .domains = domains,
                        .batch = batch,
                        .num_devices = kNumDevices,
                        .memory_model = costmodel::MemoryModel::of(cluster.groups.front().device),
                        .fullest_share = fullest_share,
                        .limit = *cluster.groups.front().device.memory};
};

const DeepSeekV3& job() {
  static const DeepSeekV3 the_job;
  return the_job;
}

/// All pipelines of one choice of operators, EP 64 and TP 1, on one thread. `beaten`: against a step of 30 s, as in a
/// search that has found one; else nothing is pruned.
void ScanPipelines(benchmark::State& state) {
  const bool beaten = state.range(0) != 0;
  const DeepSeekV3& j = job();
  const OperatorChoices choices = operator_choices(j.model, j.domains, j.batch, kNumDevices);
  const auto operators = std::ranges::find_if(choices.legal, [](const Strategy& s) {
    return s.tp == 1 && s.cp == 1 && s.ep == 64 && s.etp == 1 && s.micro_batch == 1 &&
           s.dispatcher == Dispatcher::all_to_all;
  });
  if (operators == choices.legal.end()) return state.SkipWithError("no such operators");
  const costmodel::CachedCostModel cached(*j.cost);
  const std::vector<PipelineChoice> pipelines = pipeline_choices(j.context, *operators);
  const Seconds cutoff = seconds(beaten ? 30.0 : std::numeric_limits<double>::infinity());
  std::int64_t evaluated = 0;
  for (auto _ : state) {
    evaluated += scan_pipelines(j.context, *operators, pipelines, cached, cutoff, kRoom).counts.evaluated;
  }
  state.SetItemsProcessed(evaluated);
}
BENCHMARK(ScanPipelines)->Arg(0)->Arg(1)->ArgName("beaten")->Unit(benchmark::kMillisecond);

/// The whole search without simulation, on all cores: evaluations over its whole time.
void WholeSearch(benchmark::State& state) {
  const DeepSeekV3& j = job();
  const costmodel::AnalyticInterpreter analytic(j.cost, j.cluster);
  const SearchProblem problem{.model = j.model, .cluster = j.cluster, .batch = j.batch};
  std::int64_t evaluated = 0;
  for (auto _ : state) {
    const auto outcome = search(j.domains, problem, *j.cost, analytic, nullptr);
    const auto* found = std::get_if<SearchResult>(&outcome);
    if (found == nullptr) return state.SkipWithError("nothing was found");
    evaluated += std::ranges::find(found->certificate.tiers, "memory", &Certificate::Tier::name)->evaluated;
  }
  state.SetItemsProcessed(evaluated);
}
BENCHMARK(WholeSearch)->Unit(benchmark::kSecond)->UseRealTime()->Iterations(1);

/// One strategy after the other, without tables: memory of every rank, and the closed form.
void PlainEvaluation(benchmark::State& state) {
  const DeepSeekV3& j = job();
  Strategy s;
  s.pp = 16;
  s.ep = 64;
  s.zero_dense = s.zero_expert = 1;
  s.stages = even_stages(j.model.num_layers(), s.pp);
  const Mesh mesh(s, kNumDevices);
  const costmodel::CachedCostModel cached(*j.cost);
  for (auto _ : state) {
    benchmark::DoNotOptimize(costmodel::memory_per_stage(j.model, s, j.batch, mesh, j.context.memory_model));
    benchmark::DoNotOptimize(costmodel::estimate_closed(j.model, s, j.batch, mesh, cached));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(PlainEvaluation)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace orrery::planner
