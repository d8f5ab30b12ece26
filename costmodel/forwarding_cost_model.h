// SPDX-License-Identifier: Apache-2.0
// A cost model that answers as another one does: for those that change a few of its answers.
#pragma once

#include "costmodel/cost_model.h"

namespace orrery::costmodel {

class ForwardingCostModel : public CostModel {
 public:
  /// `cost` must outlive this.
  explicit ForwardingCostModel(const CostModel& cost) : cost_(cost) {}

  OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, DeviceIndex device) const override {
    return cost_.compute(key, shape, load, device);
  }
  CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const override {
    return cost_.collective(shape, members);
  }
  CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                    std::span<const DeviceIndex> members) const override {
    return cost_.exchange(shape, routing, members);
  }
  std::optional<double> held_by(const ExchangeShape& shape, std::int64_t num_experts,
                                std::span<const DeviceIndex> members) const override {
    return cost_.held_by(shape, num_experts, members);
  }
  std::optional<double> slowdown_beside(double held, const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                                        DeviceIndex device) const override {
    return cost_.slowdown_beside(held, key, shape, load, device);
  }
  CommTime copy(const CopyShape& shape, DeviceIndex device) const override { return cost_.copy(shape, device); }
  CommTime peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const override {
    return cost_.peer(shape, from, to);
  }
  OverlapRule overlap(DeviceIndex device) const override { return cost_.overlap(device); }
  Seconds dispatch(const OpKey& key, const OpShape& shape) const override { return cost_.dispatch(key, shape); }

 private:
  const CostModel& cost_;
};

}  // namespace orrery::costmodel
