// SPDX-License-Identifier: Apache-2.0
// This machine as a cluster of CPU ranks that share its memory: what `calibrate` writes beside the times.
#pragma once

#include "program/cluster.h"

#include <cstdint>
#include <string_view>

namespace orrery::cli {

/// Ranks that use the machine well: one for each core, and at least two, so that there is something to exchange.
std::int64_t default_num_ranks();

/// Processors that `cpuinfo` lists.
std::int64_t num_processors(std::string_view cpuinfo);

/// What `cpuinfo` and `meminfo` (the texts of /proc) say, as one node of `num_ranks` devices that share it equally.
/// What they do not say stays unknown.
Cluster cpu_cluster(std::string_view cpuinfo, std::string_view meminfo, std::int64_t num_cores, std::int64_t num_ranks);

/// The same of this machine. Throws: ConfigError if /proc cannot be read.
Cluster this_machine(std::int64_t num_ranks);

}  // namespace orrery::cli
