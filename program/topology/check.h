// SPDX-License-Identifier: Apache-2.0
// What is wrong with a cluster as a network, all at once: numbers that do not fit each other, links that carry traffic
// and have no bandwidth, devices that nothing joins. And what is not known about it without being wrong.
#pragma once

#include "base/errors.h"
#include "program/topology/topology.h"

#include <string>
#include <vector>

namespace orrery::topology {

/// Problems without a file, each at its pointer into cluster/1.
std::vector<Problem> problems_of(const Topology& topology);

/// A value that the file states to be unknown.
struct Unknown {
  std::string pointer;
  std::string what;  // and who needs it
};
std::vector<Unknown> unknowns_of(const Cluster& cluster);

}  // namespace orrery::topology
