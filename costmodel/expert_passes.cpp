// SPDX-License-Identifier: Apache-2.0
#include "costmodel/expert_passes.h"

#include <variant>

namespace orrery::costmodel {
namespace {

// Source: NVIDIA/Megatron-LM, core/transformer/moe/experts.py, TEGroupedMLP._apply_bias: for each expert the bias times
// the rows' probabilities, which are f32, is added to its rows; then the experts' rows are put together and cast. The
// first product of experts adds its bias itself. Bytes for each element of the outputs, which are bf16.
//   forward: product, written 4; sum, read 2 + 4, written 4; together, read 4, written 4; cast, read 4, written 2
//   backward: cast, 2 + 4; gradient of the outputs, 4 + 2, put together 2 + 2; of the bias, product 4 + 4, summed 4; of
//   the probabilities the same
constexpr double kBiasForward = 28.0, kBiasBackward = 40.0;

// The same repository, core/fusions/fused_bias_geglu.py, weighted_bias_quick_geglu_impl: both halves are cut off, each
// by a kernel, and put together before the fused activation. Bytes for each element that is cut off.
//   forward: cut off, 2 + 2; together, 2 + 2
//   backward: gradient where nothing was cut off, gradient and input read, 2 + 2 + 2; halves together, 2 + 2
constexpr double kClampForward = 8.0, kClampBackward = 10.0;

// Kernels: of a bias for each expert, and for all; of a limit.
constexpr double kForEachForward = 2.0, kForEachBackward = 6.0, kForAll = 2.0, kOfLimit = 3.0;

// The same repository, core/transformer/moe/token_dispatcher.py, MoEAlltoAllTokenDispatcher: sort_chunks_by_idxs behind
// the exchange there and before the one back, where a rank has several experts, and so backward. Rows travel in bf16:
// bytes for each element, read and written. Kernels: the rows' new places, and the copy.
constexpr double kSorted = 4.0, kOfSorting = 2.0;

bool is_backward(const OpKey& key) { return key.pass == Pass::igrad; }

/// The experts whose outputs get a bias by kernels of their own, else nothing.
const GroupedGemmShape* biased(const OpKey& key, const OpShape& shape) {
  const auto* grouped = std::get_if<GroupedGemmShape>(&shape);
  if (grouped == nullptr || !grouped->bias || key.op != OpCode::moe_fc2 || key.pass == Pass::wgrad) return nullptr;
  return grouped;
}

const MemoryShape* clamped(const OpShape& shape) {
  const auto* memory = std::get_if<MemoryShape>(&shape);
  return memory != nullptr && memory->clamped_per_row > 0 ? memory : nullptr;
}

bool has_biases(const KernelParameters& kernels) { return kernels.separate_biases && !kernels.fused_experts; }

/// Experts whose rows are sorted, else nothing: before the first product and behind the second, backward the other way.
const GroupedGemmShape* sorted(const OpKey& key, const OpShape& shape, const KernelParameters& kernels) {
  const auto* grouped = std::get_if<GroupedGemmShape>(&shape);
  const bool sorts = grouped != nullptr && kernels.sorts_arrivals && grouped->by_sender && grouped->num_experts > 1;
  return sorts && key.pass != Pass::wgrad ? grouped : nullptr;
}

/// Elements of a row of the residual stream, which is what travels.
std::int64_t row_of_model(const OpKey& key, const GroupedGemmShape& experts) {
  return key.op == OpCode::moe_fc1 ? experts.k : experts.n;
}

double rows_of(const OpKey& key, const GroupedGemmShape& experts, const OpShape& shape, const ResolvedLoad& load) {
  const double products = work_of(key, shape, load).flops.in(unit::flop);
  return products / (2.0 * static_cast<double>(experts.n) * static_cast<double>(experts.k));
}

}  // namespace

Bytes expert_traffic(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                     const KernelParameters& kernels) {
  Bytes all;
  if (const GroupedGemmShape* experts = sorted(key, shape, kernels)) {
    all += bytes(rows_of(key, *experts, shape, load) * static_cast<double>(row_of_model(key, *experts)) * kSorted);
  }
  if (!has_biases(kernels)) return all;
  if (const GroupedGemmShape* experts = biased(key, shape)) {
    const double outputs = rows_of(key, *experts, shape, load) * static_cast<double>(experts->n);
    all += bytes(outputs * (is_backward(key) ? kBiasBackward : kBiasForward));
  }
  if (const MemoryShape* activation = clamped(shape)) {
    const Work work = work_of(key, shape, load);
    const auto each = static_cast<double>(activation->read_per_row + activation->written_per_row);
    const double rows = (work.read + work.written).in(unit::byte) / each;
    all += bytes(rows * static_cast<double>(activation->clamped_per_row) *
                 (is_backward(key) ? kClampBackward : kClampForward));
  }
  return all;
}

double expert_kernels(const OpKey& key, const OpShape& shape, const KernelParameters& kernels) {
  double all = sorted(key, shape, kernels) != nullptr ? kOfSorting : 0.0;
  if (!has_biases(kernels)) return all;
  if (const GroupedGemmShape* experts = biased(key, shape)) {
    const double each = is_backward(key) ? kForEachBackward : kForEachForward;
    all += kForAll + each * static_cast<double>(experts->num_experts);
  }
  if (clamped(shape) != nullptr) all += kOfLimit;
  return all;
}

}  // namespace orrery::costmodel
