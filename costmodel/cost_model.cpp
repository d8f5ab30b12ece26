// SPDX-License-Identifier: Apache-2.0
#include "costmodel/cost_model.h"

#include <algorithm>

namespace orrery::costmodel {

Seconds CommTime::alone() const {
  Seconds slowest;
  for (const Leg& leg : used_legs()) slowest = std::max(slowest, leg.bytes / leg.bandwidth);
  return latency + slowest;
}

Seconds CostModel::dispatch(const OpKey& /*key*/, const OpShape& /*shape*/) const { return {}; }

}  // namespace orrery::costmodel
