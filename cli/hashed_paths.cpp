// SPDX-License-Identifier: Apache-2.0
#include "cli/hashed_paths.h"

#include "base/errors.h"
#include "base/median.h"
#include "cli/prediction.h"
#include "sim/worker_interpreter.h"

#include <algorithm>
#include <limits>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {

void add_path_options(CLI::App& command, PathOptions& options) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  auto* seed =
      command.add_option("--ecmp-seed", options.seed,
                         "draw one of several equal paths for each flow, with this seed; in pairs, at least L2");
  seed->check(CLI::Range(std::int64_t{0}, kMost));
  command
      .add_option("--ecmp-seeds", options.num_seeds,
                  "simulate again with as many seeds: least, median and most of the steps, beside balanced paths")
      ->check(CLI::Range(1, 1000))
      ->excludes(seed);
}

bool raise_to_pairs(Fidelities& fidelities) {
  const Fidelities before = fidelities;
  fidelities.of_others = std::max(fidelities.of_others, Fidelity::l2);
  for (auto& [op, level] : fidelities.of_op) level = std::max(level, Fidelity::l2);
  return before != fidelities;
}

void require_paths(const PathOptions& options, const Plan& plan, const Disturbances& disturbances) {
  if (!options.hashed()) return;
  const std::string_view option = options.seed ? "--ecmp-seed" : "--ecmp-seeds";
  if (!sim::have_routes(plan.cluster, true)) {
    throw ConfigError(
        fmt::format("{}: expected a cluster with a fabric, since its switches are what draws paths, got {}", option,
                    plan.cluster.name));
  }
  if (disturbances.on_links()) {
    throw ConfigError(
        fmt::format("{}: expected links that stay as they are: disturbances are of all uplinks of a leaf "
                    "together, and a hash knows each for itself",
                    option));
  }
}

std::vector<Seconds> steps_on_hashed_paths(const Plan& plan, const std::filesystem::path& calibration,
                                           const std::vector<sim::OtherPlan>& others, const StepProgram& program,
                                           RunInput input, std::int64_t num_seeds) {
  sim::WorkerInterpreter simgrid(plan, calibration);
  simgrid.run_beside(others);
  input.steps_only = true;
  std::vector<Seconds> steps;
  for (std::int64_t seed = 0; seed < num_seeds; ++seed) {
    simgrid.draw_paths(static_cast<std::uint64_t>(seed));
    steps.push_back(run(simgrid, program, input, "").steps.at(0).time);
  }
  return steps;
}

void add_path_spread(Report& report, Seconds balanced, const std::vector<Seconds>& hashed) {
  Table table{.columns = {{"paths", "paths"}, {"step", "step"}, {"over_balanced", "over balanced"}}, .rows = {}};
  const auto add = [&](const char* name, Seconds step) { table.rows.push_back({name, step, step / balanced}); };
  add("balanced", balanced);
  add("hashed, least", *std::ranges::min_element(hashed));
  add("hashed, median", median(hashed));
  add("hashed, most", *std::ranges::max_element(hashed));
  report.table("ecmp", fmt::format("Step time with hashed paths, {} seeds", hashed.size()), std::move(table));
}

}  // namespace orrery::cli
