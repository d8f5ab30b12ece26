// SPDX-License-Identifier: Apache-2.0
// Stages laid anew, for who changes the number of them or of layers.
#pragma once

#include "program/model.h"
#include "program/strategy.h"

namespace orrery::planner {

/// Even stages for the degrees of `s`, each with what its last stage recomputes, and with the prediction modules, if
/// `mtp` is on, at the end. Requires: as even_stages().
void lay_evenly(Strategy& s, const Model& model);

}  // namespace orrery::planner
