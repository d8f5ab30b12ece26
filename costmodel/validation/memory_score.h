// SPDX-License-Identifier: Apache-2.0
// How far the memory model is from published runs (runs/1): predicted against measured for every figure, and for every
// run whether it was rightly said to fit. Nothing is fitted here, and nothing is left out silently: a run that cannot
// be modelled is counted under its reason.
#pragma once

#include "base/units.h"
#include "costmodel/memory.h"
#include "costmodel/validation/run_plan.h"
#include "costmodel/validation/runs.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace orrery::costmodel {

/// Which moment of which rank a published figure is of; one for each key of runs/1.
enum class MemoryFigure { allocated_peak, reserved_peak, allocated_in_update, reserved_peak_of_first };
std::string_view name_of(MemoryFigure figure);  // "mem_alloc_gib"

struct MemoryError {
  std::string run, group;
  MemoryFigure figure = MemoryFigure::allocated_peak;
  Bytes measured, predicted;
  std::optional<Bytes> allocated;  // of a figure of reserved memory: what tensors take of it, as predicted

  double relative() const { return predicted / measured - 1.0; }
};

struct MemoryErrorsOfGroup {
  std::string group;
  MemoryFigure figure = MemoryFigure::allocated_peak;
  std::size_t num_figures = 0;
  double mean_absolute = 0.0, median_absolute = 0.0;
  double bias = 0.0;                            // mean of signed errors
  std::optional<double> median_over_allocated;  // measured reserved over predicted allocated memory
  std::string worst_run;
  double worst = 0.0;  // signed
};

/// Runs of one framework and one model width: how many ran, how many ran out of memory, and what was said of them.
struct Feasibility {
  std::string framework;
  std::int64_t hidden = 0;  // 0: all of the framework
  std::size_t num_ran = 0, num_failed = 0;
  std::size_t num_failed_as_said = 0;
  std::size_t num_ran_unlike_said = 0;       // said not to fit
  std::size_t num_ran_if_recomputing = 0;    // fit only if they recompute, and their source does not say
  std::vector<std::string> ran_unlike_said;  // ids
  std::vector<std::string> failed_unlike_said;

  /// Of the runs that were said to fail, those that did; nothing if none was.
  std::optional<double> precision() const;
  /// Of the runs that failed, those that were said to; nothing if none did.
  std::optional<double> recall() const;
};

struct RefusedRuns {
  std::string reason;
  std::size_t num_runs = 0;
  std::string example;  // id of the first
};

struct MemoryScore {
  std::size_t num_runs = 0, num_modelled = 0;
  std::vector<MemoryError> errors;                  // in the order of the file
  std::vector<MemoryErrorsOfGroup> groups;          // by group and figure, in the order of the file
  std::vector<Feasibility> feasibility;             // by framework, then by width
  std::vector<RefusedRuns> refused;                 // most frequent first
  std::vector<std::string> assumptions;             // each once
  std::vector<std::string> devices_not_in_catalog;  // of modelled runs, whose fit is therefore not scored
};

/// The device of a catalog name, or nothing.
using DeviceLookup = std::function<std::optional<Device>(const std::string& name)>;

MemoryScore score_memory(const RunsFile& file, const DeviceLookup& device_of);

}  // namespace orrery::costmodel
