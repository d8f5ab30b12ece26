// SPDX-License-Identifier: Apache-2.0
// How far the memory model is from published runs (runs/1): predicted against measured for every figure, and for every
// run whether it was rightly said to fit. Nothing is fitted here, and nothing is left out silently: a run that cannot
// be modelled is counted under its reason, and its figures as errors of 100 % in a second mean.
#pragma once

#include "base/units.h"
#include "costmodel/memory.h"
#include "costmodel/validation/feasibility.h"
#include "costmodel/validation/run_plan.h"
#include "costmodel/validation/runs.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace orrery::costmodel {

/// Which moment of which rank a published figure is of; one for each key of runs/1.
enum class MemoryFigure { allocated_peak, reserved_peak, allocated_in_update, reserved_peak_of_first };
std::string_view name_of(MemoryFigure figure);  // "mem_alloc_gib"

struct MemoryError {
  std::string run, group, framework;
  std::int64_t hidden = 0;  // width of the model
  MemoryFigure figure = MemoryFigure::allocated_peak;
  Bytes measured, predicted;
  std::optional<Bytes> allocated;       // of a figure of reserved memory: what tensors take of it, as predicted
  std::optional<Bytes> without_preset;  // the same figure, predicted as for a GPU whose framework nobody names

  double relative() const { return predicted / measured - 1.0; }
};

struct MemoryErrorsOfGroup {
  std::string group;
  MemoryFigure figure = MemoryFigure::allocated_peak;
  std::size_t num_figures = 0, num_refused = 0;  // predicted; of runs that are not modelled
  double mean_absolute = 0.0, median_absolute = 0.0;
  double mean_with_refused = 0.0;               // each figure of a run that is not modelled counted as 100 %
  double bias = 0.0;                            // mean of signed errors
  std::optional<double> median_over_allocated;  // measured reserved over predicted allocated memory
  std::string worst_run;
  double worst = 0.0;  // signed
};

struct RefusedRuns {
  std::string reason;
  std::vector<std::string> ids;  // in the order of the file
};

struct MemoryScore {
  std::size_t num_runs = 0, num_modelled = 0;
  std::vector<MemoryError> errors;                  // in the order of the file
  std::vector<MemoryErrorsOfGroup> groups;          // by group and figure, in the order of the file
  std::vector<JudgedRun> judged;                    // whose device's memory is known, in the order of the file
  std::vector<Feasibility> feasibility;             // of these, by framework, then by width
  std::vector<RefusedRuns> refused;                 // most frequent first
  std::vector<std::string> assumptions;             // each once
  std::vector<std::string> devices_not_in_catalog;  // of modelled runs, whose fit is therefore not scored
};

MemoryScore score_memory(const RunsFile& file, const DeviceLookup& device_of);

}  // namespace orrery::costmodel
