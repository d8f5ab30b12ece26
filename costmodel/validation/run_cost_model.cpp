// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_cost_model.h"

namespace orrery::costmodel {

/// Of weights that are frozen no gradient is computed, reduced or applied.
bool RunCostModel::is_frozen(const OpKey& key) const {
  return plan_.trains_adapters && (key.pass == Pass::wgrad || key.pass == Pass::sync || key.pass == Pass::update);
}

OpTime RunCostModel::compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                             DeviceIndex device) const {
  return is_frozen(key) ? OpTime{} : ForwardingCostModel::compute(key, shape, load, device);
}

CommTime RunCostModel::collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const {
  const bool is_of_gradients = shape.group == Group::dp || shape.group == Group::edp || shape.group == Group::world;
  return plan_.trains_adapters && is_of_gradients ? CommTime{} : ForwardingCostModel::collective(shape, members);
}

CommTime RunCostModel::exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                                std::span<const DeviceIndex> members) const {
  const Strategy& strategy = plan_.strategy;
  const std::int64_t wide = 2 * plan_.model.hidden;
  ExchangeShape sent = shape;
  const bool is_fp8 = strategy.precision == DType::fp8 && shape.to_experts && shape.row_bytes < wide;
  if (is_fp8 && !plan_.framework.dispatches_fp8) {
    sent.row_bytes += wide - fp8_row(plan_.model.hidden, strategy.fp8_recipe);
  }
  return ForwardingCostModel::exchange(sent, routing, members);
}

Seconds RunCostModel::dispatch(const OpKey& key, const OpShape& shape) const {
  return is_frozen(key) ? Seconds{} : ForwardingCostModel::dispatch(key, shape);
}

}  // namespace orrery::costmodel
