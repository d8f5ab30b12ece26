// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_cost_model.h"

#include <cstdint>
#include <variant>

namespace orrery::costmodel {
namespace {

bool is_forward(const OpKey& key) { return key.pass == Pass::fwd || key.pass == Pass::rec; }

/// Rows on their way to experts, or their outputs' gradients.
bool writes_arrivals(const OpKey& key) {
  return is_forward(key) ? key.op == OpCode::moe_permute : key.pass == Pass::igrad && key.op == OpCode::moe_unpermute;
}

bool multiplies_arrivals(const OpKey& key) {
  return is_forward(key) ? key.op == OpCode::moe_fc1 : key.pass == Pass::igrad && key.op == OpCode::moe_fc2;
}

bool activates(const OpKey& key) {
  return is_forward(key) && (key.op == OpCode::mlp_act || key.op == OpCode::moe_act || key.op == OpCode::shared_act);
}

}  // namespace

/// Of weights that are frozen no gradient is computed, reduced or applied.
bool RunCostModel::is_frozen(const OpKey& key) const {
  return plan_.trains_adapters && (key.pass == Pass::wgrad || key.pass == Pass::sync || key.pass == Pass::update);
}

bool RunCostModel::casts_at_products() const {
  return plan_.strategy.precision == DType::fp8 && !plan_.framework.fuses_casts;
}

/// Where products cast their inputs, permutes and activations write bf16, which is read once more.
OpTime RunCostModel::compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                             DeviceIndex device) const {
  if (is_frozen(key)) return {};
  if (!casts_at_products()) return ForwardingCostModel::compute(key, shape, load, device);
  const std::int64_t narrow = fp8_row(plan_.model.hidden, plan_.strategy.fp8_recipe), wide = 2 * plan_.model.hidden;
  if (const auto* memory = std::get_if<MemoryShape>(&shape)) {
    MemoryShape moved = *memory;
    if (writes_arrivals(key)) {
      moved.read_per_row += wide - narrow;
      moved.written_per_row += wide - narrow;
    } else if (activates(key)) {
      const std::int64_t row = memory->written_per_row;  // about a byte for each element
      moved.written_per_row += row;
      moved.read_per_row += 2 * row;
    }
    return ForwardingCostModel::compute(key, moved, load, device);
  }
  OpTime time = ForwardingCostModel::compute(key, shape, load, device);
  if (const auto* grouped = std::get_if<GroupedGemmShape>(&shape); grouped != nullptr && multiplies_arrivals(key)) {
    const MemoryShape cast{.rows = grouped->rows, .read_per_row = wide, .written_per_row = narrow};
    const OpTime of_cast =
        ForwardingCostModel::compute({.pass = key.pass, .op = OpCode::moe_permute}, cast, load, device);
    time.time += of_cast.time;
    time.extrapolated = time.extrapolated || of_cast.extrapolated;
  }
  return time;
}

CommTime RunCostModel::collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const {
  const bool is_of_gradients = shape.group == Group::dp || shape.group == Group::edp || shape.group == Group::world;
  return plan_.trains_adapters && is_of_gradients ? CommTime{} : ForwardingCostModel::collective(shape, members);
}

CommTime RunCostModel::exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                                std::span<const DeviceIndex> members) const {
  const std::int64_t wide = 2 * plan_.model.hidden;
  ExchangeShape sent = shape;
  if (casts_at_products() && shape.to_experts && shape.row_bytes < wide) {
    sent.row_bytes += wide - fp8_row(plan_.model.hidden, plan_.strategy.fp8_recipe);
  }
  return ForwardingCostModel::exchange(sent, routing, members);
}

Seconds RunCostModel::dispatch(const OpKey& key, const OpShape& shape) const {
  return is_frozen(key) ? Seconds{} : ForwardingCostModel::dispatch(key, shape);
}

}  // namespace orrery::costmodel
