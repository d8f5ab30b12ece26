// SPDX-License-Identifier: Apache-2.0
// What `orrery simulate` says beyond other predictions: communications beside their bounds, and how full links were.
#pragma once

#include "cli/report.h"
#include "sim/bound_check.h"
#include "sim/link_use.h"
#include "traces/perfetto.h"

#include <vector>

namespace orrery::cli {

/// Every communication beside the least time that its links allow.
void add_bounds(Report& report, const std::vector<sim::BoundedOps>& bounds);

/// The ten fullest links; no table where nothing was a flow.
void add_links(Report& report, const sim::UseOfLinks& use);

/// A track for each class of links.
std::vector<CounterTrack> tracks_of(const sim::UseOfLinks& use);

}  // namespace orrery::cli
