// SPDX-License-Identifier: Apache-2.0
// A step program as text for people and for `diff`: one line per op with its queue, shape, dependencies and tensors.
// The golden tests keep such texts, so that a change of the lowering shows what it changed.
#pragma once

#include "program/step_program.h"

#include <string>

namespace orrery {

/// The shape in one line: "gemm 32x96x64 bf16", "exchange out 64 rows x 132 B".
std::string to_text(const OpShape& shape);

/// All classes, op by op. Size: about 100 bytes per op.
std::string to_text(const StepProgram& program);

}  // namespace orrery
