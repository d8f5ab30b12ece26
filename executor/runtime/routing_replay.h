// SPDX-License-Identifier: Apache-2.0
// The choices of the routers written down after each step, or taken from what another run wrote down. Two layouts whose
// sums differ in the last bit may send a nearly tied token to different experts, and are then no longer the same
// training; with the same choices they are. What a choice weighs is still the router's own.
#pragma once

#include "executor/runtime/op_call.h"
#include "executor/runtime/routing_file.h"

#include <filesystem>
#include <span>

namespace orrery::executor {

/// Replaces `chosen`, (rows, top_k) of the call, by what the recorded run chose. Requires: rank.replayed has the layer.
void take_choices(const OpCall& call, std::span<std::int32_t> chosen);
/// Notes `chosen` in rank.recorded.
void note_choices(OpCall& call, std::span<const std::int32_t> chosen);

/// Before a step: the choices that it shall take, from `folder`. Throws: ConfigError.
void replay_routing(RankState& rank, const std::filesystem::path& folder);
/// Before a step: what it chooses is noted.
void record_routing(RankState& rank);
/// Behind a step that was recorded. Collective: rank 0 writes what all have chosen. Throws: BackendError.
void save_routing(RankState& rank, const std::filesystem::path& folder);

}  // namespace orrery::executor
