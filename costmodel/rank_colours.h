// SPDX-License-Identifier: Apache-2.0
// Which ranks do the same at the same time, when some are disturbed. Ranks begin with one colour for each class and
// disturbance; then those of one colour are told apart whose groups, neighbours, node or leaf hold different colours,
// until nothing changes. That is colour refinement: the result is the coarsest equitable partition, so one rank can
// stand for all of its colour. (It is the first half of every graph isomorphism program, as in McKay and Piperno,
// "Practical graph isomorphism, II", 2014.)
#pragma once

#include "program/cluster.h"
#include "program/disturbances.h"
#include "program/step_program.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace orrery::costmodel {

/// By rank: its colour, numbered in the order of the first rank of each. Where uplinks can be full, the nodes below a
/// leaf are of one colour each or all told apart: a node that stands for some of them has no part of the uplinks that
/// would be right whether or not the others send. `replicas_differ`: none for ranks of two data-parallel replicas
/// (RunInput::all_replicas). Requires: no noise, which makes every rank different. Complexity: O(rounds * ranks * kinds
/// of groups); rounds are at most the length of a pipeline plus a few.
std::vector<std::uint32_t> colours_of(const StepProgram& program, const Cluster& cluster,
                                      const std::function<DeviceIndex(RankId)>& device_of,
                                      const Disturbances& disturbances, bool replicas_differ = false);

}  // namespace orrery::costmodel
