// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_cost_model.h"

#include "costmodel/host_time.h"

#include <algorithm>

namespace orrery::costmodel {

bool is_in_graph(std::string_view module, OpCode op) {
  const auto is_between = [op](OpCode first, OpCode last) { return op >= first && op <= last; };
  if (module == "attn") return is_between(OpCode::attn_norm, OpCode::attn_residual) || op == OpCode::attn_quant;
  if (module == "mlp") return is_between(OpCode::mlp_norm, OpCode::mlp_residual);
  if (module == "moe") return is_between(OpCode::moe_norm, OpCode::moe_residual);
  // The router's graph also holds the norm before it and shared experts; the next one counts and sorts choices.
  if (module == "moe_router") {
    return op == OpCode::moe_norm || op == OpCode::moe_router || is_between(OpCode::shared_fc1, OpCode::shared_gate);
  }
  return module == "moe_preprocess" && op == OpCode::moe_permute;
}

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
  if (is_frozen(key)) return {};
  const Seconds time = ForwardingCostModel::dispatch(key, shape);
  const bool is_replayed = std::any_of(plan_.graphed_modules.begin(), plan_.graphed_modules.end(),
                                       [&](const std::string& module) { return is_in_graph(module, key.op); });
  return is_replayed ? time * kShareInGraphs : time;
}

}  // namespace orrery::costmodel
