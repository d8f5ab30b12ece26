// SPDX-License-Identifier: Apache-2.0
#include "costmodel/operand_casts.h"

#include <optional>
#include <variant>

namespace orrery::costmodel {
namespace {

// Bytes for each element.
constexpr double kCopy = 1.0;            // in fp8
constexpr double kFromBf16 = 2.0 + 1.0;  // read, written
constexpr double kFromFp8 = 1.0;         // read

/// rows x k times k x n.
struct Product {
  double rows = 0.0, n = 0.0, k = 0.0;
};

template <class Shape>
std::optional<Product> in_fp8(const Shape& shape) {
  if (shape.dtype != DType::fp8) return std::nullopt;
  return Product{.n = static_cast<double>(shape.n), .k = static_cast<double>(shape.k)};
}

std::optional<Product> fp8_product(const OpShape& shape) {
  if (const auto* gemm = std::get_if<GemmShape>(&shape)) return in_fp8(*gemm);
  if (const auto* grouped = std::get_if<GroupedGemmShape>(&shape)) return in_fp8(*grouped);
  return std::nullopt;
}

/// `transposed`: of the copy for the weight gradient.
CastTraffic of_input(const OpKey& key, const Product& product, bool fused_experts, double transposed) {
  if (fused_experts && key.op == OpCode::moe_fc2) return {};  // by the kernel that activates
  // Shared experts have the router's input, which stays in bf16.
  const bool in_bf16 = key.op == OpCode::shared_fc1;
  const double each = (in_bf16 ? kFromBf16 : 0.0) + transposed;
  return {.bytes = bytes(each * product.rows * product.k), .own_kernel = in_bf16};
}

CastTraffic of_gradient(const OpKey& key, const Product& product, bool fused_experts, double transposed) {
  if (fused_experts && key.op == OpCode::moe_fc1) return {};
  // What comes back from where tokens were combined was cast before it left.
  const bool in_fp8 = key.op == OpCode::moe_fc2;
  if (in_fp8 && transposed == 0.0) return {};
  const double each = (in_fp8 ? kFromFp8 : kFromBf16) + transposed;
  return {.bytes = bytes(each * product.rows * product.n), .own_kernel = true};
}

}  // namespace

bool multiplies_fp8(const OpShape& shape) { return fp8_product(shape).has_value(); }

CastTraffic cast_traffic(const OpKey& key, const OpShape& shape, const Work& work, const KernelParameters& kernels) {
  auto product = fp8_product(shape);
  if (!product || key.pass == Pass::wgrad) return {};
  product->rows = work.flops.in(unit::flop) / (2.0 * product->n * product->k);
  if (product->rows == 0.0) return {};
  const double transposed = kernels.weight_gradients ? kCopy : 0.0;
  return key.pass == Pass::igrad ? of_gradient(key, *product, kernels.fused_experts, transposed)
                                 : of_input(key, *product, kernels.fused_experts, transposed);
}

}  // namespace orrery::costmodel
