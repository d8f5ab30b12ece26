// SPDX-License-Identifier: Apache-2.0
// The other end of sim/platform_import.h: what the hidden verb `platform-worker` of the orrery binary runs.
#pragma once

#include "sim/platform_import.h"

#include <iostream>

namespace orrery::sim {

/// The routes of the file between the hosts of the request. Runs in this process, which has then used up its engine.
/// Throws: ConfigError if SimGrid cannot read the file, or with all hosts that it lacks.
PlatformRoutes routes_in(const PlatformRequest& request);

/// Reads a request and writes the routes. Returns the exit code of the process: 0, or 1, 2, 4 as for every verb.
int platform_main(std::istream& in, std::ostream& out, std::ostream& errors = std::cerr);

}  // namespace orrery::sim
