// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_place.h"

#include "base/errors.h"
#include "base/files.h"
#include "cli/cluster_check.h"
#include "cli/exit_code.h"
#include "cli/intervals.h"
#include "cli/prediction.h"
#include "cli/recorded_load.h"
#include "cli/step_report.h"
#include "planner/placement/placement_price.h"
#include "program/legality.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

using planner::PlacementOption;
using planner::PlacementPrice;

struct Priced {
  PlacementOption option;
  PlacementPrice price;
};

/// What the routers do: `placed` with the nodes that pairs start from, where a trace of this layout knows them, and
/// `step` in proportions that hold for every micro-batch.
struct Loads {
  LoadModel placed, step;
};

Loads loads_of(const PlanPlaceOptions& options, const Plan& plan) {
  constexpr std::string_view kTrace = "popularity:";
  if (options.load.empty()) return {plan.load, plan.load};
  const LoadModel load = parse_load(options.load);
  if (const std::string missing = missing_popularity(load, plan.model); !missing.empty()) {
    throw ConfigError("--load: " + missing);
  }
  if (!options.load.starts_with(kTrace)) return {load, load};
  return {load_by_source(options.load.substr(kTrace.size()), plan.strategy.ep), load};
}

/// With the intervals of what was predicted, for machines.
Table table_of(const Plan& plan, const std::vector<Priced>& all, const PlacementPrice& before,
               const Intervals& intervals) {
  Table table;
  std::vector<std::optional<Interval80<Seconds>>> steps;
  std::vector<std::optional<Interval80<Bytes>>> memories;
  table.columns = {{"name", "experts"},
                   {"fullest", "fullest rank / mean"},
                   {"worst", "worst layer"},
                   {"crossing", "pairs that leave their node"},
                   {"most_nodes", "nodes of a token"},
                   {"step", "step"},
                   {"copies_step", "sums of copies"},
                   {"change", "change"},
                   {"memory", "memory"},
                   {"num_moved", "experts that move"},
                   {"moved", "moved"},
                   {"busiest", "busiest device gets"},
                   {"move", "move"},
                   {"break_even", "ahead after steps"}};
  for (const auto& [option, price] : all) {
    const std::optional<double> ahead = planner::break_even(before, price);
    const double change = price.whole_step() / before.whole_step() - 1.0;
    table.rows.push_back({option.name, option.score.fullest, option.score.worst, Value::percent(option.score.crossing),
                          option.score.most_nodes, price.step, price.copies_step, Value::error(change), price.memory,
                          price.num_moved, price.moved, price.busiest, price.move,
                          ahead ? Value(*ahead) : Value::unknown("-")});
    steps.push_back(intervals.of_step(price.step, price.extrapolated));
    memories.push_back(intervals.of_memory(price.memory, plan.strategy));
  }
  add_interval_columns(table, "step", steps);
  add_interval_columns(table, "memory", memories);
  return table;
}

/// The fastest; of equal ones the first, which without copies is the one that moves nothing.
const Priced& best_of(const std::vector<Priced>& all) {
  return *std::min_element(all.begin(), all.end(), [](const Priced& a, const Priced& b) {
    return a.price.whole_step() < b.price.whole_step();
  });
}

void check_copies(const PlanPlaceOptions& options, const Plan& plan) {
  if (options.num_copies == 0) return;
  if (!options.out.empty()) {
    throw ConfigError("--out: expected no redundant experts, since a plan has every expert once",
                      "--placement FILE writes where their copies are");
  }
  const Model model = planner::with_copies(plan.model, plan.model.moe->num_experts + options.num_copies);
  const auto broken = violations(model, plan.strategy, plan.batch, plan.num_ranks());
  if (!broken.empty()) {
    throw ConfigError(
        fmt::format("--redundant-experts {}: {}: {}", options.num_copies, broken.front().key, broken.front().expected));
  }
}

Report report_of(const Plan& plan, const std::vector<Priced>& all, const PlacementPrice& before,
                 const planner::PlacementShape& shape, const Intervals& intervals) {
  const Priced& best = best_of(all);
  Report report("Experts on ranks");
  report.fact("model", "model", plan.model.name);
  add_workload(report, plan);
  report.fact("ep", "ranks of an EP group", shape.num_ranks)
      .fact("nodes", "nodes under it", shape.num_nodes)
      .fact("positions", "experts on a rank and layer", shape.per_rank())
      .fact("best", "fastest", best.option.name)
      .fact("step_before", "step as the plan has them", before.step)
      .fact("step", "step so placed", best.price.whole_step());
  add_interval(report, "step", "80 % interval,", intervals.of_step(best.price.whole_step(), best.price.extrapolated));
  report.table("options", "Ways to place", table_of(plan, all, before, intervals));
  if (is_balanced(plan.load)) report.note("every expert gets the same: --load says what the routers really do");
  if (shape.num_positions > shape.num_experts) {
    report.note(
        "copies: the step is that of a model in which each is an expert of its own; nothing here trains them, and a "
        "trainer that does has to add up their gradients");
  }
  if (!before.extrapolated.empty()) report.note("extrapolated: some times lie outside what was measured");
  report.note("the move is a bound: the busiest device receives at the rate of one message between nodes");
  return report;
}

}  // namespace

int place_experts(const PlanPlaceOptions& options) {
  Plan plan = load_plan(options.plan);
  const planner::PlacementShape shape = planner::shape_of(plan, options.num_copies);
  check_copies(options, plan);
  const Loaded<costmodel::Calibration> calibration = load_calibration(options.common.inputs, options.calibration, plan);
  const Loads loads = loads_of(options, plan);
  plan.load = loads.step;
  const auto cost = cost_model_of(plan, calibration.value);
  const PlacementPrice before = planner::price_of(plan, plan.experts, loads.step, cost);
  std::vector<Priced> all;
  for (PlacementOption& option :
       planner::placement_options({.plan = plan, .load = loads.placed, .num_copies = options.num_copies})) {
    const PlacementPrice price = planner::price_of(plan, option.placement, loads.step, cost);
    all.push_back({std::move(option), price});
  }
  const Intervals intervals(plan, calibration.value, options.common.inputs.catalog);
  print(report_of(plan, all, before, shape, intervals), options.common.json);
  const Priced& best = best_of(all);
  if (!options.placement.empty()) {
    ExpertPlacement placement = best.option.placement;
    for (const std::int64_t layer : planner::layers_with_experts(plan.model)) {
      std::vector<std::int32_t>& experts = placement.layers[layer];
      for (auto e = static_cast<std::int32_t>(experts.size()); e < shape.num_experts; ++e) experts.push_back(e);
    }
    write_file_atomically(options.placement, to_json(PlacementFile{.model = plan.model.name,
                                                                   .num_experts = shape.num_experts,
                                                                   .ep = shape.num_ranks,
                                                                   .placement = placement}));
  }
  if (!options.out.empty()) {
    plan.experts = best.option.placement;
    plan.certificate.reset();  // it spoke of experts in order
    plan.predictions = {{.tier = "analytic",
                         .step_time = best.price.step,
                         .peak_memory = best.price.memory,
                         .extrapolated = !best.price.extrapolated.empty()}};
    set_intervals(plan, best.price.extrapolated, calibration.value, options.common.inputs.catalog);
    plan.provenance = {.version = version(), .seed = plan.provenance.seed, .command = command_line()};
    write_file_atomically(options.out, to_json(plan));
  }
  return kSuccess;
}

}  // namespace orrery::cli
