// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/ids.h"
#include "program/op.h"
#include "program/strategy.h"

#include <cstdint>
#include <vector>

// Where a rank stands in the parallel dimensions, and with whom it communicates.
// Two views of one world (Megatron's process groups): attention ranks tp x cp x dp x pp and expert ranks
// etp x ep x edp x pp. The order "tp-cp-ep-dp-pp" names the fastest-varying dimension first.

namespace orrery {

using RankId = Id<struct RankTag>;

/// Position of a rank. dp counts over tp and cp within a stage; ep and edp split the same ranks another way.
struct Coords {
  std::int64_t tp = 0, cp = 0, dp = 0, pp = 0;
  std::int64_t etp = 0, ep = 0, edp = 0;
  bool operator==(const Coords&) const = default;
};

/// The group over which states of `whole` (dp or edp) are sharded: an instance of hybrid sharding, else all of it.
constexpr Group sharding_group(Group whole, const Strategy& strategy) {
  if (strategy.num_optimizer_instances == 1) return whole;
  return whole == Group::dp ? Group::dp_shard : Group::edp_shard;
}

class Mesh {
 public:
  /// Requires: tp * cp * pp and etp * ep * pp divide `world` (program/legality.h checks it for users).
  Mesh(const Strategy& strategy, std::int64_t world);

  std::int64_t world() const { return world_; }
  std::int64_t dp() const { return dp_; }
  std::int64_t edp() const { return edp_; }
  std::int64_t ep() const { return ep_; }
  std::int64_t pp() const { return pp_; }
  /// Ranks of one pipeline rank.
  std::int64_t ranks_per_stage() const { return world_ / pp_; }

  Coords coords(RankId rank) const;
  /// Number of ranks in `group`; 2 for pipeline edges, 1 for self.
  std::int64_t size(Group group) const;
  /// Members of the group of that kind in which `rank` is, in group order. For dense gradients `dp` includes cp. Where
  /// two pipeline ranks hold the same stages (DualPipe), dp and edp span both. `embedding` is the first pipeline rank
  /// and the one that holds a copy, if there is one.
  /// For pp_next / pp_prev: the one peer (around the ring: rank p-1's next is rank 0).
  std::vector<RankId> members(Group group, RankId rank) const;
  /// Whether such a group has members on several pipeline ranks, so that their programs differ.
  bool spans_pipeline_ranks(Group group) const;
  /// Which of the groups of that kind `rank` belongs to: equal exactly for ranks that share a group.
  std::int64_t group_index(Group group, RankId rank) const;
  /// Position of `rank` among members(group, rank).
  std::int64_t index_in_group(Group group, RankId rank) const;

 private:
  struct Members;
  /// Of every group that is no part of another: its members on one of the pipeline ranks that hold the same stages.
  std::int64_t half_size(Group group) const;
  /// Of every group that is no part of another. Complexity: constant.
  Members members_of(Group group, RankId rank) const;

  std::int64_t world_, tp_, cp_, pp_, etp_, ep_, dp_, edp_;
  std::int64_t instances_;  // that shard optimizer states, of hybrid sharding
  bool bidirectional_;      // DualPipe: pipeline ranks r and p - 1 - r hold the same stages
  std::int64_t copy_rank_;  // pipeline rank that holds the embedding a second time, 0: none
};

}  // namespace orrery
