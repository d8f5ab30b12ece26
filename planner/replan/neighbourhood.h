// SPDX-License-Identifier: Apache-2.0
// The space of a re-planning: strategies near the one that ran, so that a search takes a moment and what moves stays
// little. What only the machine's size forces apart is free (pipeline, stages, experts per rank); everything else
// stays.
#pragma once

#include "planner/domains.h"
#include "program/plan.h"

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace orrery::planner {

/// The whole space, for worlds of any size that the cluster can make.
Domains domains_of_any_world(const Model& model, const Cluster& cluster, const BatchShape& batch, const Strategy& base);

/// Nothing but `strategy`, with sp if it has tp.
Domains only(const Strategy& strategy);

/// Of `all`, near `old`: tp, cp and etp with their kinds, micro-batch, dispatcher, ZeRO, overlap and offload are kept;
/// ep goes from an eighth of the old one to twice it, pp from half to four times, vpp to one more (at least 2), the
/// schedule is the old one, 1F1B or interleaved; a stage recomputes nothing, everything, what some stage did, or that
/// and one module more; stages are even, in equal time or as they were. A dimension of `all` without such a value stays
/// as it is.
Domains near(Domains all, const Strategy& old);

/// Takes out the values of degrees that none of `worlds`, in devices, has.
void keep_what_divides(Domains& domains, std::span<const std::int64_t> worlds);

/// Whether some degrees of `domains` split `num_devices` devices and the batch without a rest.
bool can_split(const Domains& domains, const BatchShape& batch, std::int64_t num_devices);

/// The manifest of a search in `domains`, each dimension with what it has of `all`: one value kept, some, or all.
std::vector<Certificate::Dimension> manifest_near(const Domains& domains, const Domains& all, std::string_view claim);

}  // namespace orrery::planner
