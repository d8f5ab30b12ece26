// SPDX-License-Identifier: Apache-2.0
// Predicted over measured, both logarithmic, as an SVG: a point for each run, a colour for each group, the diagonal and
// lines at 10 % beside it.
#pragma once

#include <string>
#include <vector>

namespace orrery::cli {

struct PlotPoint {
  std::string group, name;
  double measured = 0.0, predicted = 0.0;  // seconds
};

/// Requires: positive values. An empty list gives axes without points.
std::string scatter_plot(const std::vector<PlotPoint>& points, const std::string& title);

}  // namespace orrery::cli
