// SPDX-License-Identifier: Apache-2.0
// A program with overlapped gradient buckets of any size. Frameworks end a bucket once it fills the links (lowering/
// gradient_buckets.h), which no model that is small enough for a test does.
#pragma once

#include "program/lower.h"

#include <cstdint>

namespace orrery {

/// As lower(), but a bucket ends with the unit that brings it to `least_bucket` elements.
StepProgram lower_in_buckets(const Model& model, const Strategy& strategy, const BatchShape& batch,
                             std::int64_t num_devices, std::int64_t least_bucket);

}  // namespace orrery
