// SPDX-License-Identifier: Apache-2.0
// Would the limit have been right for a model size that was never seen? Fragmentation is the one number of a preset
// that is a statistic of published runs. Each model width of a framework is held out in turn, fragmentation is fitted
// anew on the runs of the other widths, and the held-out runs are judged with it. Whether a run failed is never used to
// fit: a failed run has no measured memory.
#pragma once

#include "costmodel/validation/feasibility.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace orrery::costmodel {

/// One width of one framework, held out.
struct Fold {
  std::string framework;
  std::int64_t hidden = 0;
  std::size_t num_fitted_on = 0;        // runs of other widths that ran and whose reserved memory was measured
  std::optional<double> fragmentation;  // median of measured reserved over predicted allocated memory, minus 1
  double of_preset = 0.0;
  Feasibility preset;        // the held-out runs with the preset's fragmentation
  Feasibility cross_judged;  // with the fitted one; nothing counted where there is no run to fit on
};

/// A framework's folds and their sums.
struct CrossValidation {
  std::string framework;
  std::vector<Fold> folds;  // by width
  Feasibility preset;       // over all folds that could be fitted, as below
  Feasibility cross_judged;

  /// Least and largest fitted value; nothing if no fold could be fitted.
  std::optional<std::pair<double, double>> fitted_range() const;
};

/// Of the frameworks of which a run failed, by name.
std::vector<CrossValidation> cross_validate(const std::vector<JudgedRun>& runs);

}  // namespace orrery::costmodel
