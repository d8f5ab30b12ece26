// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/step_program.h"

#include <string>
#include <vector>

// Proves that a program is sound before anyone runs it.

namespace orrery {

/// Everything that is wrong with the program, in words, at most 20 of them; empty: sound. Checked:
/// - indices are in range, shapes are on queues that run them, op keys are unique per rank;
/// - dependencies refer to earlier ops, so the ops of a rank are acyclic; and no cycle runs across ranks or queues;
/// - each micro-batch passes each stage once, and a matrix that goes forward has both gradients;
/// - each send has its receive, in the same order on both ends of each pipeline edge and with the same bytes;
/// - collectives of ranks of several pipeline ranks come in one order with one shape; those of one pipeline rank do by
///   construction, since its ranks share their ops;
/// - tensors are created once, used only while alive, released once, and none outlives the step; whoever uses one has
///   waited for whoever wrote it, and whoever changes or releases it for all who use it.
/// Complexity: n log n in the ops of a micro-batch, linear in all else.
std::vector<std::string> verify(const StepProgram& program);

}  // namespace orrery
