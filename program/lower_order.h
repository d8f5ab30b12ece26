// SPDX-License-Identifier: Apache-2.0
// Two thirds of a program are its tensors and who uses them. They say what memory it takes and what its kernels work
// on, and nothing of when its ops run.
#pragma once

#include "program/plan.h"

namespace orrery {

/// As lower(), for interpreters that only ask when ops run (RunInput::complete): the same ops with the same
/// dependencies, and no tensors. Requires of who gets it: not to call RankClass::uses_of.
StepProgram lower_order(const Plan& plan);

}  // namespace orrery
