// SPDX-License-Identifier: Apache-2.0
// What travels in each of the buckets into which a program cuts a flat buffer (Overlap::dp_buckets). Weights stand in
// the order in which the rank completes their gradients, and every bucket is the next part of that row, as long as its
// op says; the padding is in the last. Who owns which element does not change (shard_layout.h), so a bucket is
// exchanged in pieces, and no sum depends on where buckets end.
#pragma once

#include "executor/runtime/flat_state.h"
#include "program/step_program.h"

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::executor {

class GradientBuckets {
 public:
  /// Elements of one weight that are in a bucket and have one owner.
  struct Piece {
    std::int64_t parameter, begin, count;
    std::int64_t at;  // element of the message, in which the owners' parts follow one another
  };
  struct Bucket {
    std::vector<std::vector<Piece>> of_rank;  // by owner
    std::vector<std::int64_t> per_rank;       // elements, padding included

    std::int64_t size() const;
    /// First element of the message that is of `rank`.
    std::int64_t first_of(std::int64_t rank) const;
  };

  /// Cuts the buffer of `state` as the ops of `rank_class` do; without buckets of this kind it has none.
  GradientBuckets(const StepProgram& program, const RankClass& rank_class, const FlatState& state);

  std::span<const Bucket> buckets() const { return buckets_; }

 private:
  std::vector<Bucket> buckets_;
};

}  // namespace orrery::executor
