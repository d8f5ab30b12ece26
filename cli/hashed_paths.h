// SPDX-License-Identifier: Apache-2.0
// Equal paths in orrery simulate: balanced unless a seed draws one of them for each flow, as switches that hash flows
// (ECMP) do. One seed for the step that is told, or several for how far steps can lie apart.
#pragma once

#include "cli/report.h"
#include "program/disturbances.h"
#include "program/plan.h"
#include "sim/routes.h"
#include "sim/worker_request.h"
#include "traces/interpreter.h"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace CLI {
class App;
}

namespace orrery::cli {

struct PathOptions {
  sim::PathSeed seed;
  std::int64_t num_seeds = 0;

  bool hashed() const { return seed.has_value() || num_seeds > 0; }
};

void add_path_options(CLI::App& command, PathOptions& options);

/// Paths are of pairs: what `fidelities` has below L2 is raised to it, and whether something was.
bool raise_to_pairs(Fidelities& fidelities);

/// Throws: ConfigError if the cluster has no equal paths that a hash could draw, or its links change.
void require_paths(const PathOptions& options, const Plan& plan, const Disturbances& disturbances);

/// Step times with each seed from 0 on. `input`: with every rank.
std::vector<Seconds> steps_on_hashed_paths(const Plan& plan, const std::filesystem::path& calibration,
                                           const std::vector<sim::OtherPlan>& others, const StepProgram& program,
                                           RunInput input, std::int64_t num_seeds);

/// Least, median and most of `hashed` beside the step on balanced paths. Requires: hashed is not empty.
void add_path_spread(Report& report, Seconds balanced, const std::vector<Seconds>& hashed);

}  // namespace orrery::cli
