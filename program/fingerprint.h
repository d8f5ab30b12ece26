// SPDX-License-Identifier: Apache-2.0
// Whether two programs do the same in the same order, asked at once and not of a file: by a process that lowered a plan
// again. A hash_of() that others could not forge takes as long as lowering.
#pragma once

#include "program/step_program.h"

#include <cstdint>

namespace orrery {

/// Of all that hash_of() reads but tensors: equal for equal programs, and for programs that differ by mistake different
/// but for one in 2^64. For no file: another version may give the same program another one.
std::int64_t fingerprint_of(const StepProgram& program);

}  // namespace orrery
