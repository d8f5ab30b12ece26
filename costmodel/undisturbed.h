// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "costmodel/forwarding_cost_model.h"

namespace orrery::costmodel {

/// Another cost model whose ops do not slow each other: for bounds.
class Undisturbed final : public ForwardingCostModel {
 public:
  using ForwardingCostModel::ForwardingCostModel;

  OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, DeviceIndex device) const override {
    OpTime time = ForwardingCostModel::compute(key, shape, load, device);
    time.slowdown.reset();
    return time;
  }
  OverlapRule overlap(DeviceIndex) const override { return {}; }
};

}  // namespace orrery::costmodel
