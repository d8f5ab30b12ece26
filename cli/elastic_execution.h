// SPDX-License-Identifier: Apache-2.0
// `orrery execute --elastic` on the CPU ranks of this host: the world of cli/elastic.h with real processes, the real
// planner and checkpoints on disk.
#pragma once

#include "cli/elastic.h"
#include "cli/inputs.h"
#include "cli/report.h"
#include "executor/runtime/settings.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace orrery::cli {

struct ElasticFlags {
  bool on = false;
  std::int64_t max_restarts = 3;
  std::string calibration;
  std::vector<std::string> where;
};

void add_elastic_options(CLI::App& command, ElasticFlags& flags);

/// Trains to the end, with what happens on stderr. The plan of a restart is written beside the checkpoints.
/// Throws: ConfigError, before anything starts, when the planner lacks something that it needs.
ElasticResult execute_elastically(const Plan& plan, std::optional<executor::StartPoint> start,
                                  const executor::TrainingSettings& settings, const ElasticFlags& flags,
                                  const Loaded<costmodel::Calibration>& calibration, const std::string& plan_name,
                                  bool complete);

/// The table of restarts, and notes about what the rest of an execution's report is of.
void add_restarts(Report& report, const ElasticResult& result);

}  // namespace orrery::cli
