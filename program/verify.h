// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/step_program.h"

#include <string>
#include <vector>

// Proves that a program is sound before anyone runs it.

namespace orrery {

/// Everything that is wrong with the program, in words; empty: sound. Checked:
/// - dependencies refer to earlier ops, so the ops of a rank are acyclic; and no cycle runs across ranks;
/// - each send has its receive, in the same order on both ends of each pipeline edge and with the same bytes;
/// - members of a group issue its collectives in one order with one shape;
/// - tensors are created once, used only while alive, released once, and none outlives the step;
/// - op keys are unique per rank; indices are in range.
std::vector<std::string> verify(const StepProgram& program);

}  // namespace orrery
