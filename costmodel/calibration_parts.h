// SPDX-License-Identifier: Apache-2.0
// Parts that calibration/1 and time_factors/1 have in common.
#pragma once

#include "base/json_reader.h"
#include "base/json_writer.h"
#include "costmodel/calibration.h"
#include "costmodel/kernel_factors.h"

namespace orrery::costmodel {

/// `low` at most one, `high` at least one.
Interval read_interval(const JsonObject& in);
/// Factors to four digits, on disk; logarithms here.
Knobs read_knobs(const JsonObject& in);

void write(JsonWriter& out, const Interval& interval);
void write(JsonWriter& out, const Knobs& knobs);
/// To four digits: more would be noise.
double rounded_factor(double factor);

}  // namespace orrery::costmodel
