// SPDX-License-Identifier: Apache-2.0
// The verbs of the command line, one file each; what they do is in the README and in `orrery VERB --help`.
#pragma once

#include "cli/options.h"

namespace orrery::cli {

Verb add_demo(CLI::App& app);
Verb add_detect(CLI::App& app);
Verb add_fit(CLI::App& app);
Verb add_topology(CLI::App& app);
Verb add_plan(CLI::App& app);
Verb add_estimate(CLI::App& app);
Verb add_simulate(CLI::App& app);
Verb add_execute(CLI::App& app);
Verb add_compare(CLI::App& app);
Verb add_calibrate(CLI::App& app);
Verb add_explain(CLI::App& app);
Verb add_export(CLI::App& app);
Verb add_validate(CLI::App& app);
/// Hidden: the process that `simulate` and `plan` start, since SimGrid must not live in theirs.
Verb add_simulate_worker(CLI::App& app);
/// Hidden too: reads a platform file of SimGrid for the verbs that read a cluster.
Verb add_platform_worker(CLI::App& app);

}  // namespace orrery::cli
