// SPDX-License-Identifier: Apache-2.0
// The names that Megatron core has for choices of a strategy, for who writes its arguments and who reads them.
#pragma once

#include "base/enum_names.h"
#include "program/strategy.h"

namespace orrery::planner {

/// --cp-comm-type.
inline constexpr Named<ContextParallel> kMegatronContextParallel[] = {
    {"p2p", ContextParallel::ring}, {"all_gather", ContextParallel::all_gather}, {"a2a", ContextParallel::ulysses}};

/// --moe-token-dispatcher-type; `flex` says who carries the rows in another argument.
inline constexpr Named<Dispatcher> kMegatronDispatcher[] = {
    {"alltoall", Dispatcher::all_to_all}, {"allgather", Dispatcher::all_gather}, {"flex", Dispatcher::two_level}};

/// --data-parallel-sharding-strategy, as a ZeRO stage.
inline constexpr Named<int> kMegatronSharding[] = {
    {"no_shard", 0}, {"optim", 1}, {"optim_grads", 2}, {"optim_grads_params", 3}};

}  // namespace orrery::planner
