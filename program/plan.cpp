// SPDX-License-Identifier: Apache-2.0
#include "program/plan.h"

#include "base/check.h"
#include "program/lower.h"
#include "program/rank_devices.h"

namespace orrery {

std::int64_t Plan::num_ranks() const {
  return device_of_rank.empty() ? cluster.num_devices() : static_cast<std::int64_t>(device_of_rank.size());
}

DeviceIndex Plan::device_of(RankId rank) const {
  CHECK(!rank.is_none() && rank.value() < num_ranks(), rank, num_ranks());
  return RankDevices(strategy, num_ranks(), device_of_rank).of(rank);
}

StepProgram lower(const Plan& plan) {
  StepProgram program = lower(plan.model, plan.strategy, plan.batch, plan.num_ranks());
  program.experts = plan.experts;
  return program;
}

}  // namespace orrery
