// SPDX-License-Identifier: Apache-2.0
// The cluster that a published run ran on: its device from the catalog, and nodes and networks as its source states
// them, else as the device's usual servers are built.
#pragma once

#include "costmodel/validation/runs.h"
#include "program/cluster.h"

namespace orrery::costmodel {

/// As many nodes as the run needs. Requires: num_gpus is at least one.
Cluster cluster_of(const PublishedRun& run, const Device& device);

}  // namespace orrery::costmodel
