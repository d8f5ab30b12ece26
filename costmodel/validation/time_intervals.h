// SPDX-License-Identifier: Apache-2.0
// How sure a predicted step time is. An interval is made of the errors that predictions of other models and GPUs had
// with the same framework, when these were held out too: what a user has to expect of a plan that nobody ran. Nothing
// is assumed of the errors' distribution (Vovk et al., "Algorithmic Learning in a Random World", 2005: conformal
// prediction, here with whole cells held out).
#pragma once

#include "costmodel/calibration.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace orrery::costmodel {

/// One prediction of a run that was held out.
struct HeldOut {
  std::string group, framework, cell;
  bool is_moe = false;
  double log_ratio = 0.0;  // of measured over predicted time
};

/// Fewer errors than this tell little of their tenths.
inline constexpr std::size_t kFewErrors = 10;

/// The share of runs that an interval holds.
inline constexpr double kIntervalShare = 0.8;

/// From the lowest and the highest tenth of the ratios; each cell counts like the square root of its runs.
/// Requires: not empty.
Interval interval_of(std::span<const HeldOut> errors);

/// For each run, from the errors of the other cells of its group that are MoE or dense as it is; if these are few, of
/// the whole group, of its framework in the same two steps, or of all. Of no runs, where there is no other cell.
std::vector<Interval> intervals_without_own_cell(std::span<const HeldOut> errors);

/// For each run, from the errors of all other cells alike: what intervals are compared with that tell groups apart.
std::vector<Interval> one_interval_without_own_cell(std::span<const HeldOut> errors);

/// Mean interval score in logarithms, lower is better: width, and ten times what lies outside (Gneiting and Raftery,
/// "Strictly proper scoring rules", 2007, section 6.2, for 80 %). Runs whose interval is of no runs are left out;
/// nothing if all are. Requires: equal lengths.
std::optional<double> interval_score(std::span<const HeldOut> errors, std::span<const Interval> intervals);

/// How many runs lie in their intervals, and the median half-width over the median error (nothing without errors).
struct Coverage {
  double share = 0.0;
  std::optional<double> width_over_error;
};
/// Runs whose interval is of no runs are left out; nothing if all are. Requires: equal lengths.
std::optional<Coverage> coverage_of(std::span<const HeldOut> errors, std::span<const Interval> intervals);

}  // namespace orrery::costmodel
