// SPDX-License-Identifier: Apache-2.0
// A cost model for tests of sums: every compute op takes one second, every communication two, a copy three.
#pragma once

#include "costmodel/cost_model.h"

namespace orrery::costmodel::testing {

class UnitCostModel : public CostModel {
 public:
  explicit UnitCostModel(OverlapRule overlap = {}) : overlap_(overlap) {}

  OpTime compute(const OpKey& /*key*/, const OpShape& /*shape*/, const ResolvedLoad& /*load*/,
                 DeviceIndex /*device*/) const override {
    return {.time = seconds(1)};
  }
  CommTime collective(const CollectiveShape& /*shape*/, std::span<const DeviceIndex> /*members*/) const override {
    return lasting(2);
  }
  CommTime exchange(const ExchangeShape& /*shape*/, const RoutingMatrix& /*routing*/,
                    std::span<const DeviceIndex> /*members*/) const override {
    return lasting(2);
  }
  CommTime copy(const CopyShape& /*shape*/, DeviceIndex /*device*/) const override { return lasting(3); }
  CommTime peer(const PeerShape& /*shape*/, DeviceIndex /*from*/, DeviceIndex /*to*/) const override {
    return lasting(2);
  }
  OverlapRule overlap(DeviceIndex /*device*/) const override { return overlap_; }

 private:
  static CommTime lasting(double time) {
    return {.latency = seconds(time), .legs = {}, .num_legs = 0, .extrapolated = false};
  }

  OverlapRule overlap_;
};

}  // namespace orrery::costmodel::testing
