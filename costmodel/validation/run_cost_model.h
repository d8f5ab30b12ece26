// SPDX-License-Identifier: Apache-2.0
// What a published run does otherwise than its program says: weights that are frozen while adapters are trained, inputs
// of fp8 products that are written, sorted and sent in bf16, a library that sorts them as it sends them,
// attention and a head in fp8. No strategy has a word for these, so they are answers of a cost model around the
// calibrated one.
#pragma once

#include "costmodel/forwarding_cost_model.h"
#include "costmodel/validation/run_plan.h"

namespace orrery::costmodel {

class RunCostModel : public ForwardingCostModel {
 public:
  /// Both must outlive this.
  RunCostModel(const CostModel& cost, const RunPlan& plan) : ForwardingCostModel(cost), plan_(plan) {}

  OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load, DeviceIndex device) const override;
  CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const override;
  CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                    std::span<const DeviceIndex> members) const override;
  Seconds dispatch(const OpKey& key, const OpShape& shape) const override;

 private:
  bool is_frozen(const OpKey& key) const;
  bool casts_at_products() const;
  std::int64_t row_to_experts(std::int64_t bytes) const;
  OpTime streaming(const OpKey& key, const MemoryShape& shape, const ResolvedLoad& load, DeviceIndex device) const;
  OpTime experts(const OpKey& key, const GroupedGemmShape& shape, const ResolvedLoad& load, DeviceIndex device) const;
  OpTime fp8_attention(const OpKey& key, const AttentionShape& shape, const ResolvedLoad& load,
                       DeviceIndex device) const;

  const RunPlan& plan_;
};

}  // namespace orrery::costmodel
