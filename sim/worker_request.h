// SPDX-License-Identifier: Apache-2.0
// What a simulation worker is asked, as text on its standard input: one line of JSON with the options, the plan/1,
// the disturbances/1, the plans of other jobs, and, for a recorded load, a trace/1 that holds nothing but the load
// records. Between two processes of one binary; not a format for files.
#pragma once

#include "program/plan.h"
#include "sim/routes.h"
#include "traces/interpreter.h"

#include <cstdint>
#include <filesystem>
#include <istream>
#include <ostream>
#include <string>
#include <vector>

namespace orrery::sim {

/// Another job on the plan's cluster.
struct OtherPlan {
  std::string name;
  Plan plan;
  std::filesystem::path calibration;
};

struct WorkerRequest {
  Plan plan;  // its fidelity; its load and its sequences are those of `input`
  std::filesystem::path calibration;
  RunInput input;
  std::vector<OtherPlan> others = {};
  PathSeed seed = {};
  bool use_of_links = false;  // whether the answer says it; of one step
};

void write_request(std::ostream& out, const WorkerRequest& request);

/// Why a program that `plan` does not lower to is refused.
std::string built_by_hand(const Plan& plan);

/// Throws: ConfigError if the text is not a request.
WorkerRequest read_request(std::istream& in);

}  // namespace orrery::sim
