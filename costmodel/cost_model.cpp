// SPDX-License-Identifier: Apache-2.0
#include "costmodel/cost_model.h"

#include <algorithm>

namespace orrery::costmodel {

Seconds CommTime::alone() const {
  Seconds slowest;
  for (const Leg& leg : used_legs()) slowest = std::max(slowest, leg.bytes / leg.bandwidth);
  return latency + slowest;
}

std::optional<double> CostModel::held_by(const ExchangeShape& /*shape*/, std::int64_t /*num_experts*/,
                                         std::span<const DeviceIndex> /*members*/) const {
  return std::nullopt;
}

std::optional<double> CostModel::slowdown_beside(double /*held*/, const OpKey& /*key*/, const OpShape& /*shape*/,
                                                 const ResolvedLoad& /*load*/, DeviceIndex /*device*/) const {
  return std::nullopt;
}

Seconds CostModel::dispatch(const OpKey& /*key*/, const OpShape& /*shape*/) const { return {}; }

}  // namespace orrery::costmodel
