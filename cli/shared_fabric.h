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

struct FabricOptions {
  std::string fabric;               // a cluster; empty: the plan's own
  std::string on;                   // nodes; empty: as the plan says
  std::vector<std::string> beside;  // PLAN@NODES
};

void add_fabric_options(CLI::App& command, FabricOptions& options);

/// Puts `plan` where the options say, and reads and places the plans beside it. All are then of one cluster.
/// Throws: ConfigError if a plan does not fit on its nodes, they have other devices, or two jobs share a device.
std::vector<sim::OtherPlan> place_jobs(const FabricOptions& options, const InputOptions& inputs, Plan& plan);

}  // namespace orrery::cli
