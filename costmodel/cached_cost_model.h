// SPDX-License-Identifier: Apache-2.0
// A cost model that remembers its answers. A search asks the same few thousand questions millions of times.
// Only for balanced loads on clusters with one kind of device: an answer is found again by shape and members alone.
#pragma once

#include "costmodel/cost_model.h"

#include <map>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

namespace orrery::costmodel {

/// Not thread-safe.
class CachedCostModel : public CostModel {
 public:
  /// `model` must outlive this object.
  explicit CachedCostModel(const CostModel& model) : model_(model) {}

  OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, DeviceIndex device) const override;
  CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const override;
  /// Requires: a balanced routing.
  CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                    std::span<const DeviceIndex> members) const override;
  CommTime copy(const CopyShape& shape, DeviceIndex device) const override;
  CommTime peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const override;
  OverlapRule overlap(DeviceIndex device) const override { return model_.overlap(device); }
  Seconds dispatch(const OpKey& key, const OpShape& shape) const override { return model_.dispatch(key, shape); }

 private:
  using Members = std::vector<DeviceIndex>;
  const CostModel& model_;
  mutable std::map<std::tuple<OpCode, Pass, OpShape>, OpTime> compute_;
  mutable std::map<std::pair<CollectiveShape, Members>, CommTime> collectives_;
  mutable std::map<std::tuple<ExchangeShape, std::int64_t, Members>, CommTime> exchanges_;
  mutable std::map<std::tuple<PeerShape, DeviceIndex, DeviceIndex>, CommTime> peers_;
};

}  // namespace orrery::costmodel
