// SPDX-License-Identifier: Apache-2.0
// How far predicted step times are from published runs (runs/1): from tables of kernels alone, with the factors that
// the catalog ships, and with factors fitted without the run's own model and GPU. A run that cannot be modelled is
// counted under its reason, and as an error of 100 % in a second mean: nothing is left out silently.
#pragma once

#include "costmodel/validation/time_fit.h"
#include "costmodel/validation/time_run.h"

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace orrery::costmodel {

/// Runs that are scored together: published in one place, on one kind of GPU.
struct Stratum {
  std::string group, gpu;
  bool is_moe = false;
  auto operator<=>(const Stratum&) const = default;
};
Stratum stratum_of(const PublishedRun& run);

/// What is known of a device of the catalog; nullptr where nothing was measured: a prediction would be of no device.
using FindDevice = std::function<const KnownDevice*(const std::string& device)>;

/// Under this name, as if it were a framework's, stand intervals of predictions from tables alone.
inline constexpr const char* kZeroFit = "zero-fit";

/// All runs of a file that ran, made ready.
struct TimedRuns {
  std::vector<TimedRun> runs;
  std::vector<Seconds> zero_fit;  // by run: predicted from tables of kernels and data sheets alone
  std::map<Stratum, std::size_t> refused;
  std::map<std::string, std::vector<std::string>> reasons;  // ids of runs, by why they are not modelled
};

/// `file` must outlive the result. A run that needs a rate which nobody knows of its device is refused, too.
/// Complexity: a prediction of each run, on all cores.
TimedRuns timed_runs(const RunsFile& file, const DeviceLookup& device_of, const FindDevice& find_device);

/// Errors of one predictor on one stratum.
struct TimeErrors {
  double mean = 0.0, median = 0.0;  // absolute
  double bias = 0.0;                // mean of signed errors
  double mean_with_refused = 0.0;   // each run that is not modelled counted as 100 %
  std::string worst_run;
  double worst = 0.0;  // signed
};

/// Absolute and signed errors of predictions. Requires: equal lengths. All zero of nothing.
TimeErrors errors_of(std::span<const TimedRun* const> runs, std::span<const Seconds> predicted,
                     std::size_t num_refused);

struct StratumScore {
  Stratum stratum;
  std::size_t num_predicted = 0, num_refused = 0;
  TimeErrors zero_fit, shipped;
  std::optional<TimeErrors> cross_validated;
  /// Of cross-validated runs: how many lie in their 80 % interval, and the median half-width over the median error.
  std::optional<double> coverage, width_over_error;
};

/// Plans of one model and batch on one machine with one software, at least three that were neither all equally fast nor
/// all predicted to be: is the better one predicted to be better? By Kendall's tau, zero of a predictor that sees no
/// difference.
struct FamilyScore {
  std::string group, cell, precision, software;  // cell: one model on one GPU
  std::int64_t num_gpus = 0, seq = 0, global_batch = 0;
  std::size_t num_runs = 0;
  double zero_fit = 0.0, shipped = 0.0;
  std::optional<double> cross_validated;
};

/// Means over the families of a group.
struct GroupTau {
  std::string group;
  std::size_t num_families = 0, num_runs = 0;
  double zero_fit = 0.0, shipped = 0.0;
  std::optional<double> cross_validated;
};
std::vector<GroupTau> means_of(const std::vector<FamilyScore>& families);

struct TimeScore {
  std::vector<StratumScore> strata;
  std::vector<FamilyScore> families;              // by group, model and GPU
  std::vector<Seconds> shipped, cross_validated;  // by run; the last empty unless asked for
  /// Of a new fit, with an interval for each framework and one of predictions without a fit.
  std::optional<TimeFactors> fitted;
  /// Of predictions from tables alone, by kZeroFit and, where enough runs tell them apart, for MoE models.
  std::map<std::string, Interval> zero_fit_intervals;
  /// Mean interval scores in logarithms; lower is better. Of the intervals and of one for all runs alike, both from the
  /// errors of other cells than the run's own; and of one that has seen every run's own error.
  std::optional<double> interval_score, constant_score, constant_score_in_sample;
};

/// `cross_validate` fits anew; `source` says on what.
TimeScore score_time(const TimedRuns& timed, const DeviceOfRun& device_of, const TimeFactors& shipped,
                     bool cross_validate, const std::string& source);

}  // namespace orrery::costmodel
