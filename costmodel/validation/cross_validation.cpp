// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/cross_validation.h"

#include "base/median.h"

#include <algorithm>
#include <map>
#include <utility>

namespace orrery::costmodel {
namespace {

Feasibility nothing_counted(const std::string& framework, std::int64_t hidden) {
  Feasibility out;
  out.framework = framework;
  out.hidden = hidden;
  return out;
}

/// The fold that holds `hidden` out of the runs of one framework.
Fold fitted_without(const std::vector<JudgedRun>& runs, std::int64_t hidden) {
  Fold fold{.framework = runs.front().framework,
            .hidden = hidden,
            .fragmentation = {},
            .of_preset = runs.front().fragmentation,
            .preset = nothing_counted(runs.front().framework, hidden),
            .cross_judged = nothing_counted(runs.front().framework, hidden)};
  std::vector<double> ratios;
  for (const JudgedRun& run : runs) {
    if (run.hidden != hidden && !run.out_of_memory && run.over_allocated) ratios.push_back(*run.over_allocated);
  }
  fold.num_fitted_on = ratios.size();
  if (!ratios.empty()) fold.fragmentation = median(ratios) - 1.0;
  for (const JudgedRun& run : runs) {
    if (run.hidden != hidden) continue;
    fold.preset.count(run, run.fragmentation);
    if (fold.fragmentation) fold.cross_judged.count(run, *fold.fragmentation);
  }
  return fold;
}

CrossValidation cross_validation_of(const std::vector<JudgedRun>& runs) {
  CrossValidation out{.framework = runs.front().framework,
                      .folds = {},
                      .preset = nothing_counted(runs.front().framework, 0),
                      .cross_judged = nothing_counted(runs.front().framework, 0)};
  std::map<std::int64_t, std::optional<double>> fitted;  // by width
  for (const JudgedRun& run : runs) fitted[run.hidden] = {};
  for (auto& [hidden, fragmentation] : fitted) {
    out.folds.push_back(fitted_without(runs, hidden));
    fragmentation = out.folds.back().fragmentation;
  }
  for (const JudgedRun& run : runs) {
    const std::optional<double> fragmentation = fitted[run.hidden];
    if (!fragmentation) continue;
    out.preset.count(run, run.fragmentation);
    out.cross_judged.count(run, *fragmentation);
  }
  return out;
}

}  // namespace

std::optional<std::pair<double, double>> CrossValidation::fitted_range() const {
  std::vector<double> fitted;
  for (const Fold& fold : folds) {
    if (fold.fragmentation) fitted.push_back(*fold.fragmentation);
  }
  if (fitted.empty()) return std::nullopt;
  const auto [least, largest] = std::minmax_element(fitted.begin(), fitted.end());
  return std::pair(*least, *largest);
}

std::vector<CrossValidation> cross_validate(const std::vector<JudgedRun>& runs) {
  std::map<std::string, std::vector<JudgedRun>> by_framework;
  for (const JudgedRun& run : runs) by_framework[run.framework].push_back(run);
  std::vector<CrossValidation> out;
  for (const auto& [framework, its_runs] : by_framework) {
    if (std::any_of(its_runs.begin(), its_runs.end(), [](const JudgedRun& run) { return run.out_of_memory; })) {
      out.push_back(cross_validation_of(its_runs));
    }
  }
  return out;
}

}  // namespace orrery::costmodel
