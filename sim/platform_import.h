// SPDX-License-Identifier: Apache-2.0
// A cluster with the rates of a SimGrid platform file. SimGrid reads the file in a process of its own.
#pragma once

#include "program/cluster.h"
#include "sim/platform_routes.h"

#include <filesystem>
#include <string>

namespace orrery::sim {

/// What the worker is asked, as text, and back.
struct PlatformRequest {
  std::string file;
  std::vector<std::string> hosts;
  std::vector<HostPair> pairs;
};
std::string to_json(const PlatformRequest& request);
PlatformRequest read_platform_request(const std::string& text);
std::string to_json(const PlatformRoutes& routes);
PlatformRoutes read_platform_routes(const std::string& text);

/// `cluster` with the rates of `file` (sim/platform_routes.h). `executable` runs platform_main when called with
/// `platform-worker`.
/// Throws: ConfigError if the file cannot be read or lacks hosts, all of them named.
Cluster with_platform(Cluster cluster, const std::filesystem::path& file, const std::string& hosts,
                      const std::string& executable = "/proc/self/exe");

}  // namespace orrery::sim
