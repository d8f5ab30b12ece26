// SPDX-License-Identifier: Apache-2.0
// The stages of a strategy by dynamic programming (planner/least_bottleneck.h): which layers lie on each, and which
// modules it recomputes, so that the stage that takes longest for a micro-batch takes the least, embedding, head,
// prediction modules and recomputation included, every rank fits, and the sum is least. Times are least ones and memory
// is that of the formulas, as everywhere in a search.
//
// With one stage on a rank that is exact. With several, what one may take depends on the others, which lie elsewhere in
// the model: each is asked as if the layers of its rank's other stages were like its own. The memory of the whole is
// then checked, and what a rank has too much is taken off its limit until it fits: a good layout and no optimum.
#pragma once

#include "planner/least_bottleneck.h"
#include "planner/stage_ranges.h"

#include <map>
#include <memory>
#include <vector>

namespace orrery::planner {

/// Lays strategies that share their operators, of which `table` is.
class BottleneckStages {
 public:
  /// `context` and `table` must outlive it.
  BottleneckStages(const FamilyContext& context, Mtp mtp, OperatorTable& table)
      : c_(context), table_(table), ranges_(c_, mtp, table) {}

  struct Laid {
    std::vector<StageLayout> stages;  // empty: no layout fits
    Bytes memory;                     // of the fullest rank
  };
  /// Stages for the pipeline, the sharding and the offload of `strategy`, whose own stages are not looked at.
  Laid lay(const Strategy& strategy);

 private:
  const LeastBottleneck& cuts_of(std::int64_t num_stages);

  const FamilyContext& c_;
  OperatorTable& table_;
  StageRanges ranges_;
  std::map<std::int64_t, LeastBottleneck> cuts_;  // by number of stages
};

/// What stages take together for a micro-batch, and the longest of them.
struct StageTimes {
  Seconds longest, sum;
};
StageTimes stage_times(OperatorTable& table, const std::vector<StageLayout>& stages);

}  // namespace orrery::planner
