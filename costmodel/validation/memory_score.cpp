// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/memory_score.h"

#include "base/check.h"
#include "base/enum_names.h"
#include "base/median.h"
#include "program/legality.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

constexpr Named<MemoryFigure> kFigureNames[] = {{"mem_alloc_gib", MemoryFigure::allocated_peak},
                                                {"mem_gib", MemoryFigure::reserved_peak},
                                                {"mem_alloc_gb", MemoryFigure::allocated_in_update},
                                                {"mem_reserved_gb", MemoryFigure::reserved_peak_of_first}};

std::optional<Bytes> measured(const MeasuredRun& run, MemoryFigure figure) {
  switch (figure) {
    case MemoryFigure::allocated_peak:
      return run.allocated_peak;
    case MemoryFigure::reserved_peak:
      return run.reserved_peak;
    case MemoryFigure::allocated_in_update:
      return run.allocated_in_update;
    case MemoryFigure::reserved_peak_of_first:
      return run.reserved_peak_of_first;
  }
  CHECK(false, static_cast<int>(figure));
}

/// A modelled run: its plan as far as memory goes, and the memory of each stage.
struct Modelled {
  RunPlan plan;
  Mesh mesh;
  std::vector<MemoryByCause> stages;

  Bytes fullest(Bytes (*part)(const MemoryByCause&)) const {
    Bytes out;
    for (const MemoryByCause& stage : stages) out = std::max(out, part(stage));
    return out;
  }
  Bytes predicted(MemoryFigure figure) const {
    const auto reserved = [](const MemoryByCause& stage) { return stage.allocated() + stage.fragmentation; };
    switch (figure) {
      case MemoryFigure::allocated_peak:
        return fullest([](const MemoryByCause& stage) { return stage.allocated(); });
      case MemoryFigure::reserved_peak:
        return fullest(reserved);
      case MemoryFigure::allocated_in_update:
        return stages.front().states() + stages.front().buffers +
               update_copies_of(plan.framework, plan.model, plan.strategy, mesh, plan.strategy.stages.front());
      case MemoryFigure::reserved_peak_of_first:
        return reserved(stages.front());
    }
    CHECK(false, static_cast<int>(figure));
  }
};

/// What tensors take of a figure of reserved memory.
std::optional<Bytes> allocated_of(const Modelled& run, MemoryFigure figure) {
  if (figure == MemoryFigure::reserved_peak) return run.predicted(MemoryFigure::allocated_peak);
  if (figure == MemoryFigure::reserved_peak_of_first) return run.stages.front().allocated();
  return std::nullopt;
}

std::vector<MemoryByCause> stages_of(const RunPlan& plan, const Mesh& mesh) {
  return memory_per_stage(plan.model, plan.strategy, plan.batch, mesh, MemoryModel::of(plan.framework));
}

/// A figure of reserved memory by the formula alone, with what is taken of a GPU where no framework is named.
std::optional<Bytes> without_preset(const Modelled& run, MemoryFigure figure) {
  if (!allocated_of(run, figure)) return std::nullopt;
  Modelled plain = run;
  plain.stages = memory_per_stage(plain.plan.model, plain.plan.strategy, plain.plan.batch, plain.mesh, MemoryModel{});
  return plain.predicted(figure);
}

std::variant<Modelled, NotModelled> modelled(const RunsFile& file, const PublishedRun& run) {
  auto read = plan_of(file, run);
  if (const auto* refused = std::get_if<NotModelled>(&read)) return *refused;
  RunPlan plan = std::get<RunPlan>(std::move(read));
  if (!plan.framework_is_known) return NotModelled{"no preset for the software of " + run.group};
  if (!plan.framework.memory_is_known) return NotModelled{fmt::format("no memory of {}", plan.framework.name)};
  if (plan.trains_adapters) return NotModelled{"task: lora"};  // no gradients and optimizer states of frozen weights
  plan.strategy = without_timing_choices(plan.strategy);
  const auto broken = violations(plan.model, plan.strategy, plan.batch, plan.num_devices);
  if (!broken.empty()) return NotModelled{reason_of(broken.front())};
  const Mesh mesh(plan.strategy, plan.num_devices);
  std::vector<MemoryByCause> stages = stages_of(plan, mesh);
  return Modelled{.plan = std::move(plan), .mesh = mesh, .stages = std::move(stages)};
}

/// The most that recomputation can save: what is allocated then.
Bytes allocated_if_recomputing(const Modelled& run) {
  Modelled recomputing = run;
  for (StageLayout& stage : recomputing.plan.strategy.stages) stage.recompute = {RecomputeModule::full};
  recomputing.stages = stages_of(recomputing.plan, run.mesh);
  return recomputing.predicted(MemoryFigure::allocated_peak);
}

JudgedRun judged(const PublishedRun& run, const Modelled& found, Bytes device_memory) {
  JudgedRun out{.id = run.id,
                .framework = std::string(found.plan.framework.name),
                .hidden = found.plan.model.hidden,
                .out_of_memory = run.measured.out_of_memory,
                .allocated = found.predicted(MemoryFigure::allocated_peak),
                .if_recomputing = {},
                .fragmentation = found.plan.framework.fragmentation,
                .reserve = found.plan.framework.reserve,
                .device_memory = device_memory,
                .over_allocated = {}};
  if (!found.plan.recompute_is_stated) out.if_recomputing = allocated_if_recomputing(found);
  for (const auto& [name, figure] : kFigureNames) {
    const auto size = measured(run.measured, figure);
    const auto allocated = allocated_of(found, figure);
    if (size && allocated) out.over_allocated = *size / *allocated;
  }
  return out;
}

/// A measured figure of a run that is not modelled.
struct RefusedFigure {
  std::string group;
  MemoryFigure figure;
};

/// The entry of a group and figure, which is made if there is none.
std::size_t index_of(std::vector<MemoryErrorsOfGroup>& groups, const std::string& group, MemoryFigure figure) {
  const auto same = [&](const MemoryErrorsOfGroup& g) { return g.group == group && g.figure == figure; };
  const auto found = std::find_if(groups.begin(), groups.end(), same);
  const auto at = static_cast<std::size_t>(found - groups.begin());
  if (found == groups.end()) groups.push_back({.group = group, .figure = figure});
  return at;
}

std::vector<MemoryErrorsOfGroup> by_group(const std::vector<MemoryError>& errors,
                                          const std::vector<RefusedFigure>& refused) {
  std::vector<MemoryErrorsOfGroup> groups;
  for (const MemoryError& error : errors) index_of(groups, error.group, error.figure);
  for (const RefusedFigure& of : refused) ++groups[index_of(groups, of.group, of.figure)].num_refused;
  std::vector<std::vector<double>> absolutes(groups.size()), over_allocated(groups.size());
  for (const MemoryError& error : errors) {
    const std::size_t at = index_of(groups, error.group, error.figure);
    MemoryErrorsOfGroup& group = groups[at];
    const double relative = error.relative();
    if (group.num_figures == 0 || std::abs(relative) > std::abs(group.worst)) {
      group.worst = relative;
      group.worst_run = error.run;
    }
    ++group.num_figures;
    group.mean_absolute += std::abs(relative);  // the sum, until all are there
    group.bias += relative;
    absolutes[at].push_back(std::abs(relative));
    if (error.allocated) over_allocated[at].push_back(error.measured / *error.allocated);
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const auto n = static_cast<double>(groups[i].num_figures);
    const auto num_refused = static_cast<double>(groups[i].num_refused);
    groups[i].mean_with_refused = (groups[i].mean_absolute + num_refused) / (n + num_refused);
    if (groups[i].num_figures == 0) continue;
    groups[i].mean_absolute /= n;
    groups[i].bias /= n;
    groups[i].median_absolute = median(absolutes[i]);
    if (!over_allocated[i].empty()) groups[i].median_over_allocated = median(over_allocated[i]);
  }
  return groups;
}

}  // namespace

std::string_view name_of(MemoryFigure figure) { return orrery::name_of(kFigureNames, figure); }

MemoryScore score_memory(const RunsFile& file, const DeviceLookup& device_of) {
  MemoryScore score;
  score.num_runs = file.runs.size() + file.broken.size();
  std::map<std::string, std::vector<std::string>> refused;
  std::vector<RefusedFigure> refused_figures;
  for (const BrokenRun& run : file.broken) {
    refused[run.reason].push_back(run.id);
    for (const auto& [name, figure] : kFigureNames) {
      const bool is_there = std::find(run.measured.begin(), run.measured.end(), name) != run.measured.end();
      if (is_there) refused_figures.push_back({run.group, figure});
    }
  }
  std::set<std::string> assumptions, unknown_devices;
  for (const PublishedRun& run : file.runs) {
    const auto result = modelled(file, run);
    if (const auto* reason = std::get_if<NotModelled>(&result)) {
      refused[reason->reason].push_back(run.id);
      for (const auto& [name, figure] : kFigureNames) {
        if (measured(run.measured, figure)) refused_figures.push_back({run.group, figure});
      }
      continue;
    }
    const auto& found = std::get<Modelled>(result);
    ++score.num_modelled;
    assumptions.insert(found.plan.assumptions.begin(), found.plan.assumptions.end());
    for (const auto& [name, figure] : kFigureNames) {
      const auto size = measured(run.measured, figure);
      if (!size) continue;
      score.errors.push_back({.run = run.id,
                              .group = run.group,
                              .framework = std::string(found.plan.framework.name),
                              .hidden = found.plan.model.hidden,
                              .figure = figure,
                              .measured = *size,
                              .predicted = found.predicted(figure),
                              .allocated = allocated_of(found, figure),
                              .without_preset = without_preset(found, figure)});
    }
    const std::optional<Device> device = found.plan.device.empty() ? std::nullopt : device_of(found.plan.device);
    if (!device || !device->memory) {
      unknown_devices.insert(run.gpu);
      continue;
    }
    score.judged.push_back(judged(run, found, *device->memory));
  }
  score.groups = by_group(score.errors, refused_figures);
  score.feasibility = feasibility_of(score.judged);
  for (auto& [reason, ids] : refused) score.refused.push_back({.reason = reason, .ids = std::move(ids)});
  std::stable_sort(score.refused.begin(), score.refused.end(),
                   [](const RefusedRuns& a, const RefusedRuns& b) { return a.ids.size() > b.ids.size(); });
  score.assumptions.assign(assumptions.begin(), assumptions.end());
  score.devices_not_in_catalog.assign(unknown_devices.begin(), unknown_devices.end());
  return score;
}

}  // namespace orrery::costmodel
