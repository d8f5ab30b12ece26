// SPDX-License-Identifier: Apache-2.0
// Where the groups of a plan lie on its cluster, as a table: what the order of ranks decided.
#pragma once

#include "cli/report.h"
#include "program/plan.h"

namespace orrery::cli {

/// Groups of each dimension by their widest path. Nothing where all of them are within one scale-up domain.
void add_placement(Report& report, const Plan& plan);

}  // namespace orrery::cli
