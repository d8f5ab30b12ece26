// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_score.h"

#include "base/errors.h"
#include "base/median.h"
#include "base/parallel.h"
#include "costmodel/validation/rank_correlation.h"
#include "costmodel/validation/time_intervals.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>
#include <variant>

namespace orrery::costmodel {
namespace {

constexpr std::size_t kLeastOfFamily = 3;

template <class T>
std::vector<T> chosen(const std::vector<T>& all, const std::vector<std::size_t>& which) {
  std::vector<T> out;
  for (const std::size_t i : which) out.push_back(all[i]);
  return out;
}

std::vector<HeldOut> held_out(const TimedRuns& timed, const DeviceOfRun& device_of,
                              const std::vector<Seconds>& predicted) {
  std::vector<HeldOut> out;
  for (std::size_t i = 0; i < timed.runs.size(); ++i) {
    const TimedRun& run = timed.runs[i];
    out.push_back({.group = run.run->group,
                   .framework = std::string(run.plan.framework.name),
                   .cell = cell_of(run),
                   .is_moe = stratum_of(*run.run).is_moe,
                   .log_ratio = std::log(run.measured / predicted[i]),
                   .device = run.plan.device,
                   .has_unknown_kernels = device_of(run).has_unknown_kernels});
  }
  return out;
}

using Family = std::tuple<std::string, std::string, std::string, std::int64_t, std::int64_t, std::int64_t, std::string,
                          std::string>;

Family family_of(const TimedRun& run) {
  const PublishedRun& r = *run.run;
  return {r.group, cell_of(run), r.gpu, r.num_gpus, r.seq, r.global_batch, r.precision, r.software};
}

/// Nothing of runs that were all equally fast, or are all predicted to be.
std::optional<double> tau(const TimedRuns& timed, const std::vector<Seconds>& predicted,
                          const std::vector<std::size_t>& members) {
  std::vector<double> a, b;
  for (const std::size_t i : members) {
    a.push_back(predicted[i].in(unit::second));
    b.push_back(timed.runs[i].measured.in(unit::second));
  }
  return kendall_tau(a, b);
}

std::vector<FamilyScore> family_scores(const TimedRuns& timed, const TimeScore& score) {
  std::map<Family, std::vector<std::size_t>> families;
  for (std::size_t i = 0; i < timed.runs.size(); ++i) families[family_of(timed.runs[i])].push_back(i);
  std::vector<FamilyScore> out;
  for (const auto& [family, members] : families) {
    if (members.size() < kLeastOfFamily) continue;
    const auto zero_fit = tau(timed, timed.zero_fit, members), shipped = tau(timed, score.shipped, members);
    if (!zero_fit && !shipped) continue;  // equally fast, or one plan several times
    const PublishedRun& run = *timed.runs[members.front()].run;
    out.push_back({.group = run.group,
                   .cell = cell_of(timed.runs[members.front()]),
                   .precision = run.precision,
                   .software = run.software,
                   .num_gpus = run.num_gpus,
                   .seq = run.seq,
                   .global_batch = run.global_batch,
                   .num_runs = members.size(),
                   .zero_fit = zero_fit.value_or(0.0),
                   .shipped = shipped.value_or(0.0),
                   .cross_validated = {}});
    if (score.cross_validated.empty()) continue;
    out.back().cross_validated = tau(timed, score.cross_validated, members).value_or(0.0);
  }
  return out;
}

/// One interval for each framework; two where MoE and dense runs are enough to be told apart.
void set_intervals(const std::vector<HeldOut>& errors, std::map<std::string, Interval>& intervals) {
  std::map<std::string, std::array<std::vector<HeldOut>, 2>> by_framework;  // dense, MoE
  for (const HeldOut& error : errors) by_framework[error.framework][error.is_moe ? 1 : 0].push_back(error);
  for (auto& [framework, kinds] : by_framework) {
    auto& [dense, moe] = kinds;
    if (dense.size() >= kFewErrors && moe.size() >= kFewErrors) {
      intervals[interval_name(framework, true)] = interval_of(moe);
    } else {
      dense.insert(dense.end(), moe.begin(), moe.end());
    }
    intervals[framework] = interval_of(dense);
  }
}

/// The same of predictions from tables alone, which have seen no run, whatever its framework.
std::map<std::string, Interval> zero_fit_intervals(const TimedRuns& timed, const DeviceOfRun& device_of) {
  std::vector<HeldOut> errors = held_out(timed, device_of, timed.zero_fit);
  for (HeldOut& error : errors) error.framework = kZeroFit;
  std::map<std::string, Interval> out;
  set_intervals(errors, out);
  return out;
}

TrainingResidual::Errors residual_of(const TimeErrors& errors) {
  return {.mean = errors.mean, .median = errors.median, .bias = errors.bias};
}

/// Residuals of the fit: its own predictions and those of its folds, by stratum, for each device and framework.
void set_residuals(const TimedRuns& timed, const DeviceOfRun& device_of, const std::vector<Seconds>& crossed,
                   TimeFactors& factors) {
  const std::vector<Seconds> own = predict_all(timed.runs, device_of, factors);
  std::map<std::string, std::map<Stratum, std::vector<std::size_t>>> strata;
  for (std::size_t i = 0; i < timed.runs.size(); ++i) {
    const RunPlan& plan = timed.runs[i].plan;
    strata[residuals_name(plan.device, plan.framework.name)][stratum_of(*timed.runs[i].run)].push_back(i);
  }
  for (const auto& [name, of] : strata) {
    for (const auto& [stratum, members] : of) {
      std::vector<const TimedRun*> runs;
      for (const std::size_t i : members) runs.push_back(&timed.runs[i]);
      factors.residuals[name].push_back({.group = stratum.group,
                                         .gpu = stratum.gpu,
                                         .is_moe = stratum.is_moe,
                                         .num_runs = static_cast<std::int64_t>(members.size()),
                                         .fitted = residual_of(errors_of(runs, chosen(own, members), 0)),
                                         .held_out = residual_of(errors_of(runs, chosen(crossed, members), 0))});
    }
  }
}

/// A prediction, or what it lacks.
using ZeroFit = std::variant<Seconds, std::string>;

ZeroFit zero_fit(const TimedRun& run, const KnownDevice& device) {
  try {
    return predict(run, device, TimeFactors());
  } catch (const ConfigError& error) {
    return error.problems().front().message;
  }
}

}  // namespace

Stratum stratum_of(const PublishedRun& run) { return {.group = run.group, .gpu = run.gpu, .is_moe = run.is_moe}; }

TimedRuns timed_runs(const RunsFile& file, const DeviceLookup& device_of, const FindDevice& find_device) {
  TimedRuns out;
  const auto refuse = [&](const Stratum& stratum, const std::string& reason, const std::string& id) {
    ++out.refused[stratum];
    out.reasons[reason].push_back(id);
  };
  std::vector<std::pair<TimedRun, const KnownDevice*>> ready;
  for (const BrokenRun& run : file.broken) {
    if (run.out_of_memory) continue;
    refuse({.group = run.group, .gpu = run.gpu, .is_moe = run.is_moe}, run.reason, run.id);
  }
  for (const PublishedRun& run : file.runs) {
    if (run.measured.out_of_memory) continue;  // has no step time
    auto result = timed_run(file, run, device_of);
    if (const auto* not_modelled = std::get_if<NotModelled>(&result)) {
      refuse(stratum_of(run), not_modelled->reason, run.id);
      continue;
    }
    auto& run_ready = std::get<TimedRun>(result);
    if (const KnownDevice* device = find_device(run_ready.plan.device)) {
      ready.emplace_back(std::move(run_ready), device);
    } else {
      refuse(stratum_of(run), "no calibration of " + run.gpu, run.id);
    }
  }
  std::vector<ZeroFit> predicted(ready.size());
  parallel_for(std::ssize(ready), [&](std::int64_t number, int) {
    const auto i = static_cast<std::size_t>(number);
    predicted[i] = zero_fit(ready[i].first, *ready[i].second);
  });
  for (std::size_t i = 0; i < ready.size(); ++i) {
    TimedRun& run = ready[i].first;
    if (const auto* lacks = std::get_if<std::string>(&predicted[i])) {
      refuse(stratum_of(*run.run), *lacks, run.run->id);
      continue;
    }
    out.runs.push_back(std::move(run));
    out.zero_fit.push_back(std::get<Seconds>(predicted[i]));
  }
  return out;
}

TimeErrors errors_of(std::span<const TimedRun* const> runs, std::span<const Seconds> predicted,
                     std::size_t num_refused) {
  TimeErrors out;
  const auto n = static_cast<double>(runs.size()), all = n + static_cast<double>(num_refused);
  std::vector<double> absolute;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const double error = predicted[i] / runs[i]->measured - 1.0;
    absolute.push_back(std::abs(error));
    out.mean += std::abs(error);
    out.bias += error;
    if (out.worst_run.empty() || std::abs(error) > std::abs(out.worst)) {
      out.worst = error;
      out.worst_run = runs[i]->run->id;
    }
  }
  if (all > 0.0) out.mean_with_refused = (out.mean + static_cast<double>(num_refused)) / all;
  if (runs.empty()) return out;
  out.mean /= n;
  out.bias /= n;
  out.median = median(absolute);
  return out;
}

std::vector<GroupTau> means_of(const std::vector<FamilyScore>& families) {
  std::vector<GroupTau> out;  // sums, until all are there
  for (const FamilyScore& family : families) {
    if (out.empty() || out.back().group != family.group) out.push_back({.group = family.group, .cross_validated = {}});
    GroupTau& sum = out.back();
    ++sum.num_families;
    sum.num_runs += family.num_runs;
    sum.zero_fit += family.zero_fit;
    sum.shipped += family.shipped;
    if (family.cross_validated) sum.cross_validated = sum.cross_validated.value_or(0.0) + *family.cross_validated;
  }
  for (GroupTau& mean : out) {
    const auto n = static_cast<double>(mean.num_families);
    mean.zero_fit /= n;
    mean.shipped /= n;
    if (mean.cross_validated) *mean.cross_validated /= n;
  }
  return out;
}

TimeScore score_time(const TimedRuns& timed, const DeviceOfRun& device_of, const TimeFactors& shipped,
                     bool cross_validate, const std::string& source) {
  TimeScore score;
  score.shipped = predict_all(timed.runs, device_of, shipped);
  score.zero_fit_intervals = zero_fit_intervals(timed, device_of);
  std::vector<HeldOut> errors;
  std::vector<Interval> intervals;
  if (cross_validate && !timed.runs.empty()) {
    FittedTimes fit = fit_times(timed.runs, device_of);
    score.cross_validated = std::move(fit.cross_validated);
    score.fitted = std::move(fit.factors);
    score.fitted->source = source;
    errors = held_out(timed, device_of, score.cross_validated);
    intervals = intervals_without_own_cell(errors);
    set_intervals(errors, score.fitted->interval);
    score.fitted->interval.insert(score.zero_fit_intervals.begin(), score.zero_fit_intervals.end());
    set_residuals(timed, device_of, score.cross_validated, *score.fitted);
    score.interval_score = interval_score(errors, intervals);
    score.constant_score = interval_score(errors, one_interval_without_own_cell(errors));
    score.constant_score_in_sample = interval_score(errors, std::vector<Interval>(errors.size(), interval_of(errors)));
  }
  std::map<Stratum, std::vector<std::size_t>> strata;
  for (const auto& [stratum, count] : timed.refused) strata[stratum];
  for (std::size_t i = 0; i < timed.runs.size(); ++i) strata[stratum_of(*timed.runs[i].run)].push_back(i);
  for (const auto& [stratum, members] : strata) {
    StratumScore of{.stratum = stratum, .num_predicted = members.size()};
    if (const auto found = timed.refused.find(stratum); found != timed.refused.end()) of.num_refused = found->second;
    std::vector<const TimedRun*> runs;
    for (const std::size_t i : members) runs.push_back(&timed.runs[i]);
    of.zero_fit = errors_of(runs, chosen(timed.zero_fit, members), of.num_refused);
    of.shipped = errors_of(runs, chosen(score.shipped, members), of.num_refused);
    if (!score.cross_validated.empty() && !members.empty()) {
      of.cross_validated = errors_of(runs, chosen(score.cross_validated, members), of.num_refused);
      if (const auto coverage = coverage_of(chosen(errors, members), chosen(intervals, members))) {
        of.coverage = coverage->share;
        of.width_over_error = coverage->width_over_error;
      }
    }
    score.strata.push_back(std::move(of));
  }
  score.families = family_scores(timed, score);
  return score;
}

}  // namespace orrery::costmodel
