// SPDX-License-Identifier: Apache-2.0
// Several plans on one cluster, for orrery simulate: where each of them runs.
#pragma once

#include "cli/inputs.h"
#include "program/plan.h"
#include "sim/worker_request.h"

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace orrery::cli {

struct JobOptions {
  std::string fabric;               // a cluster; empty: the plan's own
  std::string on;                   // nodes; empty: as the plan says
  std::vector<std::string> beside;  // PLAN@NODES
};

void add_job_options(CLI::App& command, JobOptions& options);

/// Puts `plan` where the options say, and reads and places the plans beside it. All are then of one cluster.
/// Throws: ConfigError if a plan does not fit on its nodes, they have other devices, or two jobs share a device.
std::vector<sim::OtherPlan> place_jobs(const JobOptions& options, const InputOptions& inputs, Plan& plan);

}  // namespace orrery::cli
