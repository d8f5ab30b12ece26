// SPDX-License-Identifier: Apache-2.0
// How much of what a node sends in a communication between leaves stays below its own leaf. At L1 a node sends all at
// once; uplinks still carry only what leaves the leaf: of an exchange what goes to members elsewhere, of a ring through
// the m domains below a leaf one of m, which each of them is taken to have in part. So with pods and the links above
// their spines.
#pragma once

#include "costmodel/timed_program.h"
#include "program/cluster.h"
#include "sim/pair_traffic.h"
#include "sim/pod_links.h"

#include <cstdint>
#include <map>
#include <span>
#include <tuple>

namespace orrery::sim {

/// Of what goes over the network, the part that stays below the sender's leaf, and within its pod: at least as much.
struct SharesBelow {
  double leaf = 1.0, pod = 1.0;
};

class LeafShares {
 public:
  /// Both have to outlive it.
  LeafShares(const costmodel::TimedProgram& timed, const Cluster& cluster)
      : timed_(timed), cluster_(cluster), pods_(cluster) {}

  /// Of what the node of simulated rank `rank`, which takes part, sends over the network; of a folded rank, the least
  /// of those that it stands for. `op` is one of the communication's ops.
  /// Requires: no message, whose path says where it goes.
  SharesBelow of(costmodel::MeetingIndex meeting, costmodel::RankOp op, Pattern pattern, std::uint32_t rank);

 private:
  SharesBelow shares(Pattern pattern, std::span<const Cluster::Location> members, const Cluster::Location& from) const;

  const costmodel::TimedProgram& timed_;
  const Cluster& cluster_;
  const PodLinks pods_;
  std::map<std::tuple<Pattern, Group, std::uint32_t>, SharesBelow> known_;
};

/// Of what the domain of `from` sends beyond itself, the part to members below its leaf.
double share_below_leaf(Pattern pattern, std::span<const Cluster::Location> members, const Cluster::Location& from);

}  // namespace orrery::sim
