// SPDX-License-Identifier: Apache-2.0
#include "program/plan.h"

#include "base/check.h"

namespace orrery {

std::int64_t Plan::num_ranks() const {
  return device_of_rank.empty() ? cluster.num_devices() : static_cast<std::int64_t>(device_of_rank.size());
}

DeviceIndex Plan::device_of(RankId rank) const {
  CHECK(!rank.is_none() && rank.value() < num_ranks(), rank, num_ranks());
  return device_of_rank.empty() ? DeviceIndex(rank.value()) : device_of_rank[rank.index()];
}

}  // namespace orrery
