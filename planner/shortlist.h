// SPDX-License-Identifier: Apache-2.0
// Which of many plans with closed forms the slower tiers take: some of each pipeline, since what a faster tier does not
// know of a pipeline it does not know of all its members, and no more than can be the best if the closed form is as
// wrong as it was of the plans that were run.
#pragma once

#include "base/units.h"
#include "program/strategy.h"

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace orrery::planner {

/// What plans of one pipeline share: their operators, schedule, pairs, ranks and chunks.
Strategy pipeline_of(const Strategy& strategy);

/// Takes only so many plans of each pipeline.
class OfEachPipeline {
 public:
  explicit OfEachPipeline(std::int64_t most) : most_(most) {}
  bool takes(const Strategy& strategy);

 private:
  const std::int64_t most_;
  std::vector<std::pair<Strategy, std::int64_t>> seen_;
};

/// How far below its closed form the time of an interpreter was, of the plans that both have seen: by pipeline, and
/// where activations are copied apart, since the closed form knows a rank's copies as one sum.
class ClosedFormError {
 public:
  void add(const Strategy& strategy, Seconds closed, Seconds run);

  /// The least that the interpreter would say of a plan, were the closed form wrong as it was at worst of plans in its
  /// pipeline, or of all where none of them was run. Requires: something was added.
  Seconds least(const Strategy& strategy, Seconds closed) const;

 private:
  std::vector<std::pair<Strategy, double>> ratios_;  // least of run over closed, by pipeline
  double least_ = std::numeric_limits<double>::infinity();
};

}  // namespace orrery::planner
