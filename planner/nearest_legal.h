// SPDX-License-Identifier: Apache-2.0
// From a broken rule to what would obey it: values of the key that breaks it, and of keys that the same rule speaks of,
// each changed alone; where none helps, two degrees together. Of stages: the modules without one of them, or an even
// layout. Rules are asked, not repeated: a value will do if the checker of program/legality.h, with it,
// blames the key no more and names no rule that was not broken before. Only where no value is as good, another rule may
// be left: one that was hidden behind the broken one, or else another of the same key.
#pragma once

#include "program/legality.h"
#include "program/plan.h"

#include <string>
#include <vector>

namespace orrery::planner {

/// For example {"ep 32 or 64"} for an ep of 48, {"schedule \"gpipe\", \"1f1b\", ...", "vpp 2"} for interleaved stages
/// that are only one on a rank: of a degree the nearest value below and above, of a choice all. {"tp 2 and pp 8"} where
/// no single change does. Empty: no such pair does. Stages are laid evenly where their number changes. `broken`: one of
/// the violations of the plan's strategy on its ranks, or that of a stated dp. Complexity: a call of violations() for
/// every value that is tried: of degrees up to the number of ranks, of batch sizes up to 2^14 on either side.
std::vector<std::string> nearest_legal(const Plan& plan, const Violation& broken);

}  // namespace orrery::planner
