// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/run_cost_model.h"

#include <cstdint>
#include <variant>

namespace orrery::costmodel {
namespace {

// Times of cuDNN's attention in MXFP8 over those in bf16: two sequences of 4096 tokens under a causal mask, 64 heads
// and 8 of keys and values, 128 wide; milliseconds. The forward gains, the backward loses. Source:
// NVIDIA/cudnn-frontend@60e572b7c8fe1976631af4141f307900ef17cad5,
// benchmark/sdpa_benchmark_training/results/llama3.1/{gb200,gb300}/*_20260424_*.csv (cuDNN 9.22).
struct Fp8Over {
  double forward, backward;
};
constexpr Fp8Over kBlackwell{0.326 / 0.391, 1.305 / 1.198};
constexpr Fp8Over kBlackwellUltra{0.242 / 0.323, 1.203 / 1.101};

bool is_forward(const OpKey& key) { return key.pass == Pass::fwd || key.pass == Pass::rec; }

/// Rows that came to experts, or their outputs' gradients.
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

OpTime RunCostModel::compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                             DeviceIndex device) const {
  if (is_frozen(key)) return {};
  if (const auto* memory = std::get_if<MemoryShape>(&shape)) return streaming(key, *memory, load, device);
  if (const auto* attention = std::get_if<AttentionShape>(&shape); attention != nullptr && plan_.attends_in_fp8) {
    return fp8_attention(key, *attention, load, device);
  }
  if (const auto* gemm = std::get_if<GemmShape>(&shape);
      gemm != nullptr && plan_.fp8_head && key.op == OpCode::head_logits) {
    GemmShape in_fp8 = *gemm;
    in_fp8.dtype = DType::fp8;
    return ForwardingCostModel::compute(key, in_fp8, load, device);
  }
  if (const auto* grouped = std::get_if<GroupedGemmShape>(&shape)) return experts(key, *grouped, load, device);
  return ForwardingCostModel::compute(key, shape, load, device);
}

/// Where products cast their inputs, rows on their way to experts are moved and activations are written in bf16; the
/// latter are read once more.
OpTime RunCostModel::streaming(const OpKey& key, const MemoryShape& shape, const ResolvedLoad& load,
                               DeviceIndex device) const {
  MemoryShape moved = shape;
  if (key.op == OpCode::moe_permute || key.op == OpCode::moe_unpermute) {
    if (plan_.sorts_in_exchanges) return {};
    moved.read_per_row = row_to_experts(shape.read_per_row);
    moved.written_per_row = row_to_experts(shape.written_per_row);
  } else if (casts_at_products() && activates(key)) {
    const std::int64_t row = shape.written_per_row;  // about a byte for each element
    moved.written_per_row += row;
    moved.read_per_row += 2 * row;
  }
  return ForwardingCostModel::compute(key, moved, load, device);
}

/// Rows that arrive in bf16 are cast in front of the experts' products.
OpTime RunCostModel::experts(const OpKey& key, const GroupedGemmShape& shape, const ResolvedLoad& load,
                             DeviceIndex device) const {
  OpTime time = ForwardingCostModel::compute(key, shape, load, device);
  if (!casts_at_products() || !multiplies_arrivals(key)) return time;
  const std::int64_t wide = 2 * plan_.model.hidden;
  const MemoryShape cast{.rows = shape.rows,
                         .read_per_row = wide,
                         .written_per_row = fp8_row(plan_.model.hidden, plan_.strategy.fp8_recipe)};
  const OpKey streams{.pass = key.pass, .op = OpCode::moe_permute};
  const OpTime of_cast = ForwardingCostModel::compute(streams, cast, load, device);
  time.time += of_cast.time;
  time.extrapolated = time.extrapolated || of_cast.extrapolated;
  return time;
}

/// Queries, keys and values are read in bf16 and written twice before the forward, with scales along either axis for
/// the products of both passes, and the gradient of the output before the backward. The backward kernel visits all
/// pairs that a causal mask leaves, whatever the window: with one of 128 it takes 0.6, 2.1, 7.4 and 27.6 ms on a GB200
/// for 2048 to 16384 tokens, 0.2 to 1.8 ms in bf16; the forward takes as long as in bf16 (the same benchmark, gpt_oss).
OpTime RunCostModel::fp8_attention(const OpKey& key, const AttentionShape& shape, const ResolvedLoad& load,
                                   DeviceIndex device) const {
  const bool backward = key.pass == Pass::igrad;
  AttentionShape visited = shape;
  if (backward) visited.window = 0;
  OpTime time = ForwardingCostModel::compute(key, visited, load, device);
  const Fp8Over& over = plan_.device.ends_with("b300") ? kBlackwellUltra : kBlackwell;
  if (visited.window == 0) time.time = time.time * (backward ? over.backward : over.forward);
  const std::int64_t width =
      backward ? shape.heads * shape.d_v : shape.heads * shape.d_qk + shape.kv_heads * (shape.d_qk + shape.d_v);
  const MemoryShape cast{.rows = {.count = shape.batch * shape.seq},
                         .read_per_row = 2 * width,
                         .written_per_row = 2 * fp8_row(width, plan_.strategy.fp8_recipe)};
  time.time += ForwardingCostModel::compute(key, cast, load, device).time;
  return time;
}

CommTime RunCostModel::collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const {
  const bool is_of_gradients = shape.group == Group::dp || shape.group == Group::edp || shape.group == Group::world;
  return plan_.trains_adapters && is_of_gradients ? CommTime{} : ForwardingCostModel::collective(shape, members);
}

/// Bytes of a row on its way to an expert, which a program for fp8 has cast before.
std::int64_t RunCostModel::row_to_experts(std::int64_t bytes) const {
  const std::int64_t wide = 2 * plan_.model.hidden;
  if (!casts_at_products() || bytes >= wide) return bytes;
  return bytes + wide - fp8_row(plan_.model.hidden, plan_.strategy.fp8_recipe);
}

/// HybridEP's exchanges sort rows by expert after, or sum them before, they travel; so does each exchange backward. A
/// rank gets as many rows as it sends, as the router of a published benchmark is balanced.
CommTime RunCostModel::exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                                std::span<const DeviceIndex> members) const {
  ExchangeShape sent = shape;
  if (shape.to_experts) sent.row_bytes = row_to_experts(shape.row_bytes);
  CommTime time = ForwardingCostModel::exchange(sent, routing, members);
  if (!plan_.sorts_in_exchanges) return time;
  const std::int64_t row = 2 * plan_.model.hidden;
  const MemoryShape copies{.rows = {.count = shape.rows.count}, .read_per_row = row, .written_per_row = row};
  time.latency += ForwardingCostModel::compute({.op = OpCode::moe_permute}, copies, {}, members.front()).time;
  return time;
}

Seconds RunCostModel::dispatch(const OpKey& key, const OpShape& shape) const {
  return is_frozen(key) ? Seconds{} : ForwardingCostModel::dispatch(key, shape);
}

}  // namespace orrery::costmodel
