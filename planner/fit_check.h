// SPDX-License-Identifier: Apache-2.0
// One question, asked many times: is this strategy legal on so many devices of the plan's kind, and does it fit them?
#pragma once

#include "base/units.h"
#include "program/arrivals.h"
#include "program/plan.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace orrery::planner {

struct FitCheck {
  bool legal = false;
  bool fits = false;
  Bytes memory;     // of the fullest rank, if legal
  std::string why;  // it is illegal or does not fit; empty if it fits
};

/// Checks attempts with one model, under a load and on a kind of device.
class FitChecker {
 public:
  /// Requires: `model` and `device` outlive this, and the device's memory is known.
  FitChecker(const Model& model, const LoadModel& load, const Device& device, std::string_view framework = {},
             const ExpertPlacement& experts = {})
      : model_(model), device_(device), framework_(framework), fullest_share_(model, load, experts) {}
  explicit FitChecker(const Plan& plan)
      : FitChecker(plan.model, plan.load, plan.cluster.groups.front().device, plan.framework, plan.experts) {}

  /// Complexity: that of violations() and memory_per_stage(), some microseconds for each stage.
  FitCheck check(const Strategy& strategy, const BatchShape& batch, std::int64_t num_devices) const;

 private:
  const Model& model_;
  const Device& device_;
  std::string framework_;  // that trains; empty: nobody's
  FullestShare fullest_share_;
};

}  // namespace orrery::planner
