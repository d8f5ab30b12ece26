// SPDX-License-Identifier: Apache-2.0
// Who sends how much to whom in one communication: from what the busiest member's ports carry (the legs of the cost
// model) to bytes between pairs of members. Exchanges send to every member, directly or in two steps; everything else
// goes around a ring, whatever tree the library builds: what each port carries in and out is the same. How pairs become
// flows is in sim/flow_plan.h.
#pragma once

#include "costmodel/cost_model.h"
#include "program/cluster.h"
#include "sim/network.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace orrery::sim {

enum class Pattern : std::uint8_t {
  message,     // the first member to the second
  ring,        // as many rings through all domains as the smallest has members, each by NICs of its own
  shift,       // each member to the next one
  all_to_all,  // each member to each other
  two_level,   // to the member at the same position in each other domain, and from there to each of that domain
};

/// Payload between members in any unit: row-major, rows[from * n + to]; empty: the same for all pairs.
using Payload = std::vector<double>;

struct PairBytes {
  std::uint32_t from = 0, to = 0;  // members
  costmodel::PathClass path = costmodel::PathClass::node;
  Bytes size;
  RouteIndex route = kPooled;
};

/// The pairs with traffic, by sender; those of an exchange in an order in which no two senders meet at a receiver.
/// Pairs within a scale-up domain share the leg on path `node` and the others that on the network: the busiest member
/// has just the leg's bytes, out or in, and the others have less in proportion to `payload`. A pair on the network goes
/// by rail below one leaf, else by spine, whatever the leg says of the whole communication. Nothing for a leg without
/// bytes. Requires: at least two members, exactly two for a message.
std::vector<PairBytes> pair_traffic(Pattern pattern, std::span<const Cluster::Location> members,
                                    const costmodel::CommTime& time, const Payload& payload = {});

/// What each member has, out and in, over one kind of link, in bytes; as long as the last member that has something.
std::vector<std::array<double, 2>> loads_of(std::span<const PairBytes> pairs, bool network);

/// Adds up what goes from one end to another over one path class and route. `from` and `to` give the numbers that
/// replace those of members, `to` for scale-up links and for the network. What stays on a node stays as a pair of the
/// node with itself.
std::vector<PairBytes> between_ends(std::span<const PairBytes> pairs, std::span<const std::uint32_t> from,
                                    const std::array<std::vector<std::uint32_t>, 2>& to);

/// What stands at an end of pairs: of how many members' links it has the use, out and in, and the leaf and the pod that
/// it lies below, where their uplinks can be full.
struct PairEnd {
  double out = 1.0, in = 1.0;
  std::optional<std::int64_t> leaf = {}, pod = {};
};

/// Makes sizes equal that are nearly equal, since SimGrid's time grows with the number of different ones: the largest
/// of the pairs on this kind of link times powers of 2^(-1/4). Each size is rounded up or down so that what its sender
/// and its receiver have in total stays as it was, and then all are scaled so that the busiest end has exactly what it
/// had, and the busiest leaf and pod no less. The total of all pairs changes by less than 3 %
/// (tests/unit/sim/pair_traffic_test.cpp).
void quantise(std::vector<PairBytes>& pairs, bool network, std::span<const PairEnd> ends);

}  // namespace orrery::sim
