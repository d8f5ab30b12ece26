// SPDX-License-Identifier: Apache-2.0
// How the ranks of a data-parallel group share a flat buffer (ZeRO): every weight is cut over all of them, as FSDP2
// does, and where it does not divide, the ranks that get an element more take turns, so that shards differ by at most
// one element, over all weights and over each run of neighbours in the order of the cut. A unit of the model can so be
// exchanged by itself, and a matrix that two stages hold is cut in the same way on both.
#pragma once

#include "program/local_parameters.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery {

/// Consecutive elements of one weight that one rank owns.
struct OwnedRange {
  std::int64_t parameter = 0;  // index of the weight
  std::int64_t begin = 0;      // element of the weight
  std::int64_t count = 0;
  std::int64_t slot = 0;  // first place in the rank's shard
};

/// A weight as the cut sees it.
struct CutWeight {
  std::int64_t size = 0;
  bool whole = false;  // it goes to one rank, as Muon wants its matrices
};

/// The order in which the weights of a rank's flat buffer are cut, as indices. Weights that are summed over other
/// groups as well stand together, so that what a rank owns of each such sum is its even share.
std::vector<std::int64_t> cut_order(std::span<const LocalParameter> parameters);
/// The weights in that order, as the cut sees them.
std::vector<CutWeight> cut_weights(std::span<const std::int64_t> order, std::span<const LocalParameter> parameters);

class ShardLayout {
 public:
  /// `weights` in the order of the cut. Those that stay whole are dealt first, the largest to whoever has least.
  ShardLayout(std::span<const CutWeight> weights, std::int64_t num_ranks);

  std::int64_t num_ranks() const { return static_cast<std::int64_t>(by_rank_.size()); }
  /// Places in a rank's shard, all in use but maybe the last; where weights stay whole, as many as it has elements.
  std::int64_t size(std::int64_t rank) const { return sizes_[static_cast<std::size_t>(rank)]; }
  /// The sizes of all shards.
  std::span<const std::int64_t> sizes() const { return sizes_; }
  /// What a rank owns, in the order of the cut: one range for each weight, maybe empty.
  std::span<const OwnedRange> of(std::int64_t rank) const { return by_rank_[static_cast<std::size_t>(rank)]; }

 private:
  std::vector<std::vector<OwnedRange>> by_rank_;
  std::vector<std::int64_t> sizes_;
};

}  // namespace orrery
