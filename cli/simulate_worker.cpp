// SPDX-License-Identifier: Apache-2.0
#include "cli/verbs.h"
#include "sim/platform_worker.h"
#include "sim/worker.h"

#include <iostream>

#include <CLI/CLI.hpp>

namespace orrery::cli {

Verb add_simulate_worker(CLI::App& app) {
  CLI::App* command = app.add_subcommand("simulate-worker", "one simulation, asked on stdin by another process");
  command->group("");  // hidden
  return {command, [] { return sim::worker_main(std::cin, std::cout); }};
}

Verb add_platform_worker(CLI::App& app) {
  CLI::App* command = app.add_subcommand("platform-worker", "routes of a platform, asked on stdin by another process");
  command->group("");  // hidden
  return {command, [] { return sim::platform_main(std::cin, std::cout); }};
}

}  // namespace orrery::cli
