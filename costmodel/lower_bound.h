// SPDX-License-Identifier: Apache-2.0
// A time that the analytic interpreter cannot beat: a bound, not an estimate. It rests on what the interpreter never
// does: a queue runs one op at a time and in order, nothing runs faster than alone, and arithmetic waits for what it
// needs. What may be hidden is taken as hidden. A search prunes by it and certifies with it; what is not in it, and how
// near it comes: docs/design/lower-bound.md.
#pragma once

#include "base/units.h"
#include "costmodel/cost_model.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <span>

namespace orrery::costmodel {

class PieceTimes;

/// At most the step time of the analytic interpreter under a balanced load, with sequences of one length, on devices of
/// one kind. `device_of_rank`: empty means that ranks are in the order of the strategy.
/// Complexity, and `pieces`: those of estimate_closed.
/// Requires: violations(model, strategy, batch, mesh.world()) is empty.
Seconds lower_bound(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                    const CostModel& cost, std::span<const DeviceIndex> device_of_rank = {},
                    PieceTimes* pieces = nullptr);

}  // namespace orrery::costmodel
