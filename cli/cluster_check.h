// SPDX-License-Identifier: Apache-2.0
// A cluster that does not hang together has no step time: a plan is placed only on one whose devices reach each other
// over links with a bandwidth. What is wrong (program/topology/check.h) is named all at once and at its file.
#pragma once

#include "base/errors.h"
#include "program/plan.h"
#include "program/topology/topology.h"

#include <string>
#include <vector>

namespace orrery::cli {

/// Adds the problems of the network; `at` is the pointer to the cluster in `file`, empty when it is the whole file.
void add_problems(const topology::Topology& topology, const std::string& file, const std::string& at,
                  ProblemList& problems);

/// Throws: ConfigError with all problems of the network.
void require_whole(const Cluster& cluster, const std::string& file, const std::string& at = "");

/// For a user: what lies on the way to NICs and is slower than they are, which predictions leave out.
std::vector<std::string> slower_than_nics(const Cluster& cluster);

/// read_plan, and require_whole of its cluster.
Plan load_plan(const std::string& path);

}  // namespace orrery::cli
