// SPDX-License-Identifier: Apache-2.0
#include "cli/fit_report.h"

#include "base/check.h"
#include "base/units_format.h"
#include "cli/intervals.h"
#include "cli/step_report.h"
#include "costmodel/memory_table.h"
#include "planner/limits.h"
#include "planner/remedies.h"
#include "planner/strategy_text.h"
#include "program/arrivals.h"
#include "program/counts.h"
#include "program/layout_text.h"
#include "program/mesh.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

using costmodel::MemoryByCause;
using costmodel::RankTable;

const Device& device_of(const Plan& plan) { return plan.cluster.groups.front().device; }

/// "0", or "0+7" of a rank with several stages.
std::string stages_text(const Strategy& strategy, std::int64_t rank) {
  return fmt::format("{}", fmt::join(stages_of(strategy, rank), "+"));
}

Table ranks_table(const Plan& plan, const std::vector<MemoryByCause>& ranks, const Intervals& intervals) {
  Table table;
  std::vector<std::optional<Interval80<Bytes>>> totals;
  table.columns = {{"rank", "rank"},
                   {"stages", "stages"},
                   {"layers", "layers"},
                   {"weights", "weights"},
                   {"gradients", "gradients"},
                   {"optimizer", "optimizer"},
                   {"activations", "activations"},
                   {"transients", "transients"},
                   {"communication", "messages"},
                   {"reserve", "reserve"},
                   {"total", "total"},
                   {"headroom", "headroom"}};
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const MemoryByCause& memory = ranks[i];
    const auto rank = static_cast<std::int64_t>(i);
    std::vector<std::string> layers;
    for (const std::int64_t stage : stages_of(plan.strategy, rank)) {
      layers.push_back(layers_text(plan.strategy.stages[static_cast<std::size_t>(stage)]));
    }
    const Bytes named = memory.states() + memory.activations + memory.transients + memory.communication;
    const Bytes rest = bytes(std::round((memory.total() - named).in(unit::byte)));
    table.rows.push_back({rank, stages_text(plan.strategy, rank), fmt::format("{}", fmt::join(layers, ", ")),
                          memory.weights, memory.gradients, memory.optimizer, memory.activations, memory.transients,
                          memory.communication, rest, memory.total(), *device_of(plan).memory - memory.total()});
    totals.push_back(intervals.of_memory(memory.total(), plan.strategy));
  }
  add_interval_columns(table, "total", totals);
  return table;
}

Table parts_table(const std::vector<RankTable>& ranks) {
  Table table;
  table.columns = {{"stage", "stage"},
                   {"part", "part"},
                   {"count", "count"},
                   {"recompute", "recompute"},
                   {"dense_parameters", "dense parameters"},
                   {"expert_parameters", "expert parameters"},
                   {"states", "states"},
                   {"saved", "saved of a micro-batch"},
                   {"in_flight", "in flight"}};
  for (const RankTable& rank : ranks) {
    for (const costmodel::StagePart& part : rank.parts) {
      std::vector<std::string_view> modules;
      for (const RecomputeModule module : part.recompute) modules.push_back(name_of(module));
      table.rows.push_back({part.stage, name_of(part.kind), part.count,
                            modules.empty() ? "none" : fmt::format("{}", fmt::join(modules, "+")),
                            part.dense_parameters, part.expert_parameters, part.states, part.saved, part.in_flight});
    }
  }
  return table;
}

std::string_view name_of_slot(Slot::Kind kind) {
  switch (kind) {
    case Slot::Kind::forward:
      return "forward";
    case Slot::Kind::backward:
      return "backward";
    case Slot::Kind::input_grad:
      return "input gradient";
    case Slot::Kind::weight_grad:
      return "weight gradient";
  }
  return "?";
}

std::string moment_text(const MemoryByCause& memory, const RankTable& table) {
  if (memory.activations == Bytes()) return "at the end of the step";
  return fmt::format("in a {} of stage {}", name_of_slot(table.slot), table.stage);
}

Table remedies_table(const std::vector<planner::Remedy>& remedies, const Intervals& intervals) {
  Table table{.columns = {{"change", "change"}, {"memory", "memory"}, {"extra_time", "rough extra time"}}, .rows = {}};
  std::vector<std::optional<Interval80<Bytes>>> memories;
  for (const planner::Remedy& remedy : remedies) {
    table.rows.push_back({remedy.change, remedy.memory, Value::error(remedy.extra_time)});
    memories.push_back(intervals.of_memory(remedy.memory, remedy.strategy));
  }
  add_interval_columns(table, "memory", memories);
  return table;
}

Table models_table(const Plan& plan, const std::vector<Model>& models, const Intervals& intervals,
                   std::optional<std::size_t>& largest, std::vector<std::optional<Interval80<Bytes>>>& memories) {
  Table table;
  table.columns = {{"model", "model"},   {"parameters", "parameters"},
                   {"layers", "layers"}, {"memory", "memory"},
                   {"fits", "fits"},     {"why", "why not"}};
  std::int64_t most = 0;
  for (std::size_t i = 0; i < models.size(); ++i) {
    const Model& model = models[i];
    const std::int64_t parameters = parameter_counts(model).total;
    planner::FitCheck check;
    check.why = fmt::format("stages: expected at least {} layers, one for each stage", plan.strategy.num_stages());
    if (model.num_layers() >= plan.strategy.num_stages()) {
      check = planner::check_model(model, plan);
    }
    if (check.fits && parameters > most) {
      most = parameters;
      largest = i;
    }
    table.rows.push_back({model.name, parameters, model.num_layers(),
                          check.legal ? Value(check.memory) : Value::unknown("-"), check.fits, check.why});
    memories.push_back(check.legal ? intervals.of_like_memory(check.memory) : std::nullopt);
  }
  add_interval_columns(table, "memory", memories);
  return table;
}

}  // namespace

std::string layers_text(const StageLayout& stage) {
  std::vector<std::string> parts;
  if (stage.embedding) parts.emplace_back("embed");
  if (stage.num_layers == 1) parts.push_back(fmt::format("{}", stage.first_layer));
  if (stage.num_layers > 1) {
    parts.push_back(fmt::format("{}..{}", stage.first_layer, stage.first_layer + stage.num_layers - 1));
  }
  if (stage.num_mtp > 0) parts.emplace_back("mtp");
  if (stage.head) parts.emplace_back("head");
  return fmt::format("{}", fmt::join(parts, "+"));
}

Report fit_report(const Plan& plan, const std::vector<MemoryByCause>& ranks, const std::filesystem::path& catalog) {
  const Device& device = device_of(plan);
  const std::optional<std::string> problem = costmodel::why_it_does_not_fit(ranks, device);
  const Mesh mesh(plan.strategy, plan.num_ranks());
  auto parameters = costmodel::MemoryModel::of(device, plan.framework);
  parameters.rho = FullestShare(plan.model, plan.load, plan.experts).of(plan.strategy);
  const std::vector<RankTable> tables = costmodel::rank_tables(plan.model, plan.strategy, plan.batch, mesh, parameters);
  const auto less = [](const MemoryByCause& a, const MemoryByCause& b) { return a.total() < b.total(); };
  const std::int64_t fullest = std::max_element(ranks.begin(), ranks.end(), less) - ranks.begin();
  const RankTable& moment = tables[static_cast<std::size_t>(fullest)];
  const Bytes headroom = *device.memory - costmodel::fullest(ranks);

  Report report("Fit");
  add_model(report, plan.model, plan.strategy.mtp);
  add_workload(report, plan);
  add_strategy(report, plan);
  report.fact("megatron_layout", "the same for Megatron-LM", layout_text(plan.strategy.stages));
  add_memory(report, costmodel::fullest(ranks), device);
  add_memory_interval(report, plan, costmodel::fullest(ranks), catalog);
  report.fact("fits", "fits", !problem)
      .fact("headroom", "headroom", headroom)
      .fact("headroom_fraction", "of the device", Value::percent(headroom / *device.memory))
      .fact("fullest_rank", "fullest pipeline rank", fullest)
      .fact("fullest_moment", "when", moment_text(ranks[static_cast<std::size_t>(fullest)], moment));
  report.table("ranks", "Memory of a rank of each pipeline rank", ranks_table(plan, ranks, Intervals(plan, catalog)));
  report.table("parts", "What lies on a rank, stage by stage", parts_table(tables));
  if (problem) report.note(*problem);
  return report;
}

void add_remedies(Report& report, const Plan& plan, const std::filesystem::path& catalog) {
  const planner::Remedies found = planner::remedies(plan);
  const Intervals intervals(plan, catalog);
  if (!found.singles.empty()) {
    report.table("remedies", "Single changes that make it fit, cheapest first",
                 remedies_table(found.singles, intervals));
    return;
  }
  if (!found.pair) {
    report.note("no change and no pair of changes makes it fit: orrery plan searches for several at once");
    return;
  }
  report.table("remedies", "No single change makes it fit; the cheapest pair that does",
               remedies_table({*found.pair}, intervals));
}

void add_answers(Report& report, const Plan& plan, const FitQuestions& questions,
                 const std::filesystem::path& catalog) {
  Table table{
      .columns = {{"question", "question"}, {"answer", "answer"}, {"memory", "memory"}, {"binds", "what binds"}},
      .rows = {}};
  const Intervals intervals(plan, catalog);
  std::vector<std::optional<Interval80<Bytes>>> memories;
  const auto add = [&](bool asked, const char* question, planner::Limit (*ask)(const Plan&)) {
    if (!asked) return;
    const planner::Limit limit = ask(plan);
    table.rows.push_back({question, limit.value ? Value(*limit.value) : Value::unknown("none"),
                          limit.value ? Value(limit.memory) : Value::unknown("-"), limit.binds});
    memories.push_back(limit.value ? intervals.of_like_memory(limit.memory) : std::nullopt);
  };
  add(questions.fewest_devices, "fewest devices", planner::fewest_devices);
  add(questions.longest_sequence, "longest sequence", planner::longest_sequence);
  add(questions.largest_micro_batch, "largest micro-batch", planner::largest_micro_batch);
  add(questions.largest_layers, "most layers", planner::largest_layers);
  if (!questions.models.empty()) {
    std::optional<std::size_t> largest;
    std::vector<std::optional<Interval80<Bytes>>> of_models;
    Table models = models_table(plan, questions.models, intervals, largest, of_models);
    const bool all = largest && std::all_of(models.rows.begin(), models.rows.end(),
                                            [](const std::vector<Value>& row) { return row[4].text() == "yes"; });
    table.rows.push_back({"largest model", largest ? models.rows[*largest][0] : Value::unknown("none"),
                          largest ? models.rows[*largest][3] : Value::unknown("-"),
                          all ? "every model that was given fits" : "see the models below"});
    memories.push_back(largest ? of_models[*largest] : std::nullopt);
    add_interval_columns(table, "memory", memories);
    report.table("answers", "Limits of this strategy", std::move(table));
    report.table("models", "Models", std::move(models));
    return;
  }
  add_interval_columns(table, "memory", memories);
  if (!table.rows.empty()) report.table("answers", "Limits of this strategy", std::move(table));
}

}  // namespace orrery::cli
