// SPDX-License-Identifier: Apache-2.0
// Adds up the same piece of several ranks in the order of the ranks, so that a sum never depends on who came first.
#pragma once

#include "executor/comm/communicator.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace orrery::executor {

/// target[i] = ((sources[0][i] + sources[1][i]) + sources[2][i]) + ... for `count` values, or the largest of them.
/// Requires: at least one source; `target` may be one of them, and overlaps none in another way.
void sum_in_order(SumType type, std::span<const std::byte* const> sources, std::byte* target, std::int64_t count);

}  // namespace orrery::executor
