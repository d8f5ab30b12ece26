// SPDX-License-Identifier: Apache-2.0
// How sure a predicted step time is. An interval is made of the errors that predictions of other models and GPUs had
// with the same framework, when these were held out too: what a user has to expect of a plan that nobody ran. Nothing
// is assumed of the errors' distribution (Vovk et al., "Algorithmic Learning in a Random World", 2005: conformal
// prediction, here with whole cells held out).
#pragma once

#include "costmodel/calibration.h"
#include "program/op.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::costmodel {

/// One prediction of a run that was held out.
struct HeldOut {
  std::string group, framework, cell;
  bool is_moe = false;
  double log_ratio = 0.0;            // of measured over predicted time
  std::string device = {};           // empty: it does not matter
  bool has_unknown_kernels = false;  // nothing was measured of the device's kernels of some kind
};

/// Fewer errors than this tell little of their tenths.
inline constexpr std::size_t kFewErrors = 10;

/// The share of runs that an interval holds.
inline constexpr double kIntervalShare = 0.8;

/// What an interval's logarithms are multiplied by where nothing was measured of a kind of kernel: predictions of
/// published runs from tables alone were off by twice as much as with fitted numbers (docs/accuracy.md).
inline constexpr double kUnknownWidth = 2.0;
Interval widened(const Interval& interval);

/// Whether the points of a calibration tell of such a kernel: attention of attention, products of products. What only
/// moves bytes goes by the form, as it did in the runs that intervals come from, if anything was measured.
bool tells_of(const Calibration& calibration, OpCode op);

/// Whether runs on `device` are among the errors that the interval was made of: then it holds what the numbers of
/// kernels miss there, measured or not.
bool has_seen(const Interval& interval, std::string_view device);

/// From the lowest and the highest tenth of the ratios; each cell counts like the square root of its runs.
/// Requires: not empty.
Interval interval_of(std::span<const HeldOut> errors);

/// The same where cells are few: the next cell is as likely between any two of them as outside, so that a tenth of them
/// and it, not of them alone, lies beyond either end (conformal prediction). Requires: not empty.
Interval interval_of_few(std::span<const HeldOut> errors);

/// For each run, from the errors of the other cells of its group that are MoE or dense as it is; if these are few, of
/// the whole group, of its framework in the same two steps, or of all. Widened as for a plan: where nothing was
/// measured of the kernels of the run's device, and none of these errors is of that device. Of no runs, where there is
/// no other cell.
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
