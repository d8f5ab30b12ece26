// SPDX-License-Identifier: Apache-2.0
#include "planner/shortlist.h"

#include "planner/operator_table.h"

#include <algorithm>

namespace orrery::planner {

namespace {

/// As for ClosedFormError.
Strategy erring_alike(const Strategy& strategy) {
  Strategy out = pipeline_of(strategy);
  out.offload_activations = strategy.offload_activations;
  return out;
}

}  // namespace

Strategy pipeline_of(const Strategy& strategy) {
  Strategy out = operators_of(strategy);
  out.pp = strategy.pp;
  out.vpp = strategy.vpp;
  out.schedule = strategy.schedule;
  out.overlap = {.ep_batch_level = strategy.overlap.ep_batch_level};
  return out;
}

bool OfEachPipeline::takes(const Strategy& strategy) {
  Strategy pipeline = pipeline_of(strategy);
  auto known = std::ranges::find(seen_, pipeline, &std::pair<Strategy, std::int64_t>::first);
  if (known == seen_.end()) known = seen_.insert(seen_.end(), {std::move(pipeline), 0});
  return ++known->second <= most_;
}

void ClosedFormError::add(const Strategy& strategy, Seconds closed, Seconds run) {
  const double ratio = run / closed;
  Strategy alike = erring_alike(strategy);
  auto known = std::ranges::find(ratios_, alike, &std::pair<Strategy, double>::first);
  if (known == ratios_.end()) known = ratios_.insert(ratios_.end(), {std::move(alike), ratio});
  known->second = std::min(known->second, ratio);
  least_ = std::min(least_, ratio);
}

Seconds ClosedFormError::least(const Strategy& strategy, Seconds closed) const {
  const auto known = std::ranges::find(ratios_, erring_alike(strategy), &std::pair<Strategy, double>::first);
  return closed * (known == ratios_.end() ? least_ : known->second);
}

}  // namespace orrery::planner
