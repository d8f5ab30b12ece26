// SPDX-License-Identifier: Apache-2.0
#include "costmodel/operand_casts.h"

#include <optional>
#include <variant>

namespace orrery::costmodel {
namespace {

// Bytes for each element.
constexpr double kTransposed = 1.0;      // one more copy in fp8
constexpr double kFromBf16 = 2.0 + 2.0;  // read, written twice
constexpr double kFromFp8 = 1.0 + 1.0;   // read, written transposed

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

CastTraffic of_input(const OpKey& key, const Product& product, bool fused_experts) {
  if (fused_experts && key.op == OpCode::moe_fc2) return {};  // by the kernel that activates
  // Shared experts have the router's input, which stays in bf16.
  const bool in_bf16 = key.op == OpCode::shared_fc1;
  return {.bytes = bytes((in_bf16 ? kFromBf16 : kTransposed) * product.rows * product.k), .own_kernel = in_bf16};
}

CastTraffic of_gradient(const OpKey& key, const Product& product, bool fused_experts) {
  if (fused_experts && key.op == OpCode::moe_fc1) return {};
  // What comes back from where tokens were combined was cast before it left.
  const double each = key.op == OpCode::moe_fc2 ? kFromFp8 : kFromBf16;
  return {.bytes = bytes(each * product.rows * product.n), .own_kernel = true};
}

}  // namespace

bool multiplies_fp8(const OpShape& shape) { return fp8_product(shape).has_value(); }

CastTraffic cast_traffic(const OpKey& key, const OpShape& shape, const Work& work, bool fused_experts) {
  auto product = fp8_product(shape);
  if (!product || key.pass == Pass::wgrad) return {};
  product->rows = work.flops.in(unit::flop) / (2.0 * product->n * product->k);
  if (product->rows == 0.0) return {};
  return key.pass == Pass::igrad ? of_gradient(key, *product, fused_experts) : of_input(key, *product, fused_experts);
}

}  // namespace orrery::costmodel
