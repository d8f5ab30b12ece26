// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/model.h"

#include <string>
#include <vector>

namespace orrery {

/// What two models would compute differently with the same weights, or where weights have other sizes:
/// "top_k: expected 2, got 1". Names, losses and what only training has, prediction modules included, do not count.
std::vector<std::string> differences(const Model& expected, const Model& got);

}  // namespace orrery
