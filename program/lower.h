// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"

// From model and strategy to the program of a step. Small passes (program/lowering/): layers emit ops and tensors,
// the schedule orders them, pipeline edges and gradient exchange are added, and a last pass derives dependencies and
// releases from the uses of tensors.

namespace orrery {

/// The program of one training step on `num_devices` devices, one rank each.
/// Requires: violations(model, strategy, batch, num_devices) is empty.
/// Complexity: linear in the number of ops of one replica; independent of num_devices.
StepProgram lower(const Model& model, const Strategy& strategy, const BatchShape& batch, std::int64_t num_devices);

}  // namespace orrery
