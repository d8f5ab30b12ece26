// SPDX-License-Identifier: Apache-2.0
// What the sites of the network send in one communication.
// L1: each node carries what its members send together in one flow, at the rate of all of them and with their weight:
// links are shared by devices, not by flows. It goes to the node itself, which loads every port in both directions as
// an all-to-all or a ring does, and whom a node sends to does not matter: one node can stand for others that send to
// others. Where uplinks can be full, what stays below a leaf is a flow of its own (sim/leaf_shares.h). A message goes
// from the sender's node to the receiver's. L2 and L3: pairs of nodes or devices (sim/pair_traffic.h), what one of them
// sends sharing one cap.
#pragma once

#include "costmodel/timed_program.h"
#include "sim/flow_plan.h"
#include "sim/pair_traffic.h"
#include "sim/simgrid_kernel.h"

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <tuple>
#include <vector>

namespace orrery::sim {

/// In the order in which they begin.
struct Sends {
  struct Entry {
    Send send;
    std::uint32_t first_part = 0, num_parts = 0;
  };
  std::vector<Entry> entries;
  std::vector<Part> parts;

  std::span<const Part> parts_of(const Entry& entry) const {
    return std::span(parts).subspan(entry.first_part, entry.num_parts);
  }
};

class SendMaker {
 public:
  /// Both have to outlive it.
  SendMaker(const costmodel::TimedProgram& timed, const FlowPlan& plan) : timed_(timed), plan_(plan) {}

  /// Nothing for a leg without bytes. Sizes are rounded up to whole bytes. Valid until the next call.
  /// Requires: plan.is_flow(meeting).
  const Sends& of(costmodel::MeetingIndex meeting);

  /// Where all flows that have routes of their own may end.
  std::set<RoutedEnd> routed_ends();

 private:
  void fold_into_nodes(costmodel::MeetingIndex meeting);
  void add_pairs(costmodel::MeetingIndex meeting, Pattern pattern, const Payload& payload, Sends& sends) const;
  /// Each pair on the network by the ways of its devices.
  std::vector<PairBytes> routed(const MemberGroup& group, std::span<const PairBytes> pairs) const;
  /// Where pairs begin and end: devices at L3; at L2 nodes, and where a router decides who receives, the busiest device
  /// of each node for itself, since others of the node cannot help it.
  struct Ends {
    std::vector<SiteIndex> sites;
    std::vector<bool> is_simulated;  // of those that send
    std::vector<std::int64_t> leaf;
    std::vector<std::uint32_t> from;               // by member
    std::array<std::vector<std::uint32_t>, 2> to;  // by member, on scale-up links and on the network
    std::array<std::vector<PairEnd>, 2> widths;    // likewise, by end
    std::size_t num_senders = 0;                   // the first ones
  };
  Ends ends_of(const MemberGroup& group, bool of_nodes) const;
  /// How many members' links each end has the use of. One whose members send different amounts has what keeps its
  /// busiest one at its rate: an end of 8 of whom one sends half of all, two.
  void set_widths(Ends& ends, const MemberGroup& group, std::span<const PairBytes> pairs, bool network,
                  bool decided) const;
  /// `decided`: a router made sizes differ.
  void add_group(const MemberGroup& group, std::vector<PairBytes> pairs, costmodel::MeetingIndex meeting, bool decided,
                 Sends& sends) const;
  Pattern pattern_of(costmodel::MeetingIndex meeting) const;
  /// Rows of an exchange between its members; empty if the router is balanced.
  Payload payload_of(costmodel::MeetingIndex meeting) const;

  const costmodel::TimedProgram& timed_;
  const FlowPlan& plan_;
  Sends sends_;
  /// Pairs of equal payload, by fidelity, groups, pattern, and bytes on the links of domains and on the network.
  std::map<std::tuple<Fidelity, const std::vector<MemberGroup>*, Pattern, std::array<double, 2>>, Sends> known_;
};

}  // namespace orrery::sim
