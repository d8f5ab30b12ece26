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

// A sum that is taken in several places, each of which goes on where the one before has stopped, with the bits of one
// that is taken at once.

/// What such a sum is in between: f32 for bf16, which is rounded once, at the end; else the type itself.
SumType partial_type_of(SumType type);
/// target[i] = (before[i] + sources[0][i]) + ..., without `before` where it is null; `before` and `target` are of the
/// partial type. Requires: at least one source; no overlaps.
void extend_sum(SumType type, const std::byte* before, std::span<const std::byte* const> sources, std::byte* target,
                std::int64_t count);
/// The whole sum from the partial one. Requires: no overlap.
void finish_sum(SumType type, const std::byte* partial, std::byte* target, std::int64_t count);

}  // namespace orrery::executor
