// SPDX-License-Identifier: Apache-2.0
// How sure a prediction is: 80 % intervals of step times and of memory, as the verbs that predict print them.
#pragma once

#include "cli/report.h"
#include "costmodel/calibration.h"
#include "program/plan.h"

#include <filesystem>
#include <string>
#include <vector>

namespace orrery::cli {

/// Of the predictions of `plan`, as the two functions below print them; not of the closed form's step time, whose own
/// error nobody counted. `extrapolated`: names of the ops whose time is.
/// Throws: ConfigError if the catalog's file is broken.
void set_intervals(Plan& plan, const std::vector<std::string>& extrapolated, const costmodel::Calibration& calibration,
                   const std::filesystem::path& catalog);

/// Of a predicted step, by the errors that `calibration` states; wider where nothing was measured of a kind of kernel,
/// and on another device or under another power limit than the calibration's. `extrapolated`: names of the ops whose
/// time is.
void add_time_interval(Report& report, const Plan& plan, Seconds step, const std::vector<std::string>& extrapolated,
                       const costmodel::Calibration& calibration);

/// Of the fullest rank's memory on a GPU, by the errors that the catalog states of figures of reserved memory; what the
/// process takes beside is assumed, and has none. A CPU rank takes what it is predicted to, and gets no interval.
/// Throws: ConfigError if the catalog's file is broken.
void add_memory_interval(Report& report, Bytes peak, const Device& device, const std::filesystem::path& catalog);

}  // namespace orrery::cli
