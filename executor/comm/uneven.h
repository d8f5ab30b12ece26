// SPDX-License-Identifier: Apache-2.0
// Gathers and sums in which every rank has a part of its own size, maybe none. They are composed of the variable
// all-to-all, so that every back end has them; all ranks together send what an even collective on the same bytes would.
// Where the parts are even, that one is called.
#pragma once

#include "executor/comm/communicator.h"

#include <cstddef>
#include <span>
#include <string_view>

namespace orrery::executor {

/// Each rank's `input` goes to its block of `output` on all ranks. Requires: the same blocks everywhere.
CommReport all_gather_v(Communicator& group, std::span<const std::byte> input, std::span<std::byte> output,
                        const Blocks& blocks, std::string_view key);

/// `output` = the sum over the ranks, in their order, of this rank's block of `input`. Requires: the same blocks
/// everywhere; `output` has the length of this rank's.
CommReport reduce_scatter_v(Communicator& group, SumType type, std::span<const std::byte> input, const Blocks& blocks,
                            std::span<std::byte> output, std::string_view key);

}  // namespace orrery::executor
