// SPDX-License-Identifier: Apache-2.0
// How sure a prediction is: 80 % intervals of step times and of memory, as the verbs that predict print them.
#pragma once

#include "cli/report.h"
#include "costmodel/calibration.h"
#include "program/plan.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace orrery::cli {

/// Of the predictions for one job. The plan and the calibration must outlive it.
class Intervals {
 public:
  /// Throws: ConfigError if the catalog's file is broken.
  Intervals(const Plan& plan, const costmodel::Calibration& calibration, const std::filesystem::path& catalog);
  /// Of memory alone.
  Intervals(const Plan& plan, const std::filesystem::path& catalog);

  /// Of a predicted step, by the errors that the calibration states; wider where nothing was measured of a kind of
  /// kernel and no run on the device was among these errors, and on another device or under another power limit than
  /// the calibration's. `extrapolated`: names of the ops whose time is. Nothing where no errors are known.
  std::optional<Interval80<Seconds>> of_step(Seconds step, const std::vector<std::string>& extrapolated) const;

  /// Of the memory of the fullest rank under `strategy`. On a GPU by the errors that the catalog states of figures of
  /// the framework that the plan names, or of all without a name; what the process takes beside is assumed, and has
  /// none. A CPU rank takes what it is predicted to; messages that are counted as early may still be on their way.
  std::optional<Interval80<Bytes>> of_memory(Bytes peak, const Strategy& strategy) const;

  /// The same of a job like this one, of another size, on GPUs.
  std::optional<Interval80<Bytes>> of_like_memory(Bytes peak) const;

  /// Adds the intervals of all predictions of a plan of this job. The closed form and the interpreters time one step,
  /// so where an interpreter ran, the closed form has its interval, stretched to hold what the closed form says.
  void set(std::vector<Prediction>& predictions, const Strategy& strategy,
           const std::vector<std::string>& extrapolated) const;

  /// A sentence with both factors for reports whose tables predict.
  void note(Report& report, const std::vector<std::string>& extrapolated) const;

 private:
  std::optional<costmodel::Interval> step_factors(const std::vector<std::string>& extrapolated) const;

  const Plan& plan_;
  const costmodel::Calibration* calibration_;  // null: steps have none
  std::optional<costmodel::Interval> memory_;  // factors on what is reserved of a GPU
};

/// Intervals of one column of a table, row by row: two more columns, for machines, KEY_low and KEY_high.
template <class Q>
void add_interval_columns(Table& table, const std::string& key, const std::vector<std::optional<Interval80<Q>>>& of);

/// The same beside one fact.
template <class Q>
void add_interval(Report& report, const std::string& key, const std::string& label,
                  const std::optional<Interval80<Q>>& interval);

/// Of the predictions of `plan`. `extrapolated`: names of the ops whose time is.
/// Throws: ConfigError if the catalog's file is broken.
void set_intervals(Plan& plan, const std::vector<std::string>& extrapolated, const costmodel::Calibration& calibration,
                   const std::filesystem::path& catalog);

/// Of a predicted step of `plan`.
void add_time_interval(Report& report, const Plan& plan, Seconds step, const std::vector<std::string>& extrapolated,
                       const costmodel::Calibration& calibration);

/// Of the fullest rank's memory, and what says so. Throws: ConfigError if the catalog's file is broken.
void add_memory_interval(Report& report, const Plan& plan, Bytes peak, const std::filesystem::path& catalog);

}  // namespace orrery::cli
