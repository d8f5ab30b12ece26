// SPDX-License-Identifier: Apache-2.0
// How a TP group shares the linear layers of a block (Megatron-LM, arXiv 1909.08053; with sequence parallelism,
// arXiv 2205.05198). Column-parallel layers split their outputs, row-parallel ones their inputs. With sequence
// parallelism the residual stream is split by tokens: it is gathered before a column-parallel layer, and the partial
// sums of a row-parallel one are scattered; without, partial sums are all-reduced in place. The gathered input is not
// kept: it is gathered again for the weight gradient.
// With Overlap::tp, gathers, products and scatters are cut into t slices, so that one slice travels while the next is
// multiplied.
#pragma once

#include "program/lowering/rules.h"

#include <cstdint>
#include <optional>

namespace orrery::lowering {

/// A column-parallel layer: `in` [T/t, k] with sequence parallelism, `out` [T, n], n of this rank.
struct ColumnParallel {
  OpCode gather = OpCode::tp_attn_in;
  OpCode gemm = OpCode::attn_qkv;
  TensorRole in = TensorRole::norm1, in_full = TensorRole::norm1_full, out = TensorRole::qkv;
  TensorRole d_out = TensorRole::d_qkv, d_part = TensorRole::d_norm1_part, d_in = TensorRole::d_norm1;
  std::int64_t n = 0, k = 0;
  bool adds_to_d_in = false;        // another layer has created the gradient of the input
  bool operand_in = true;           // the input is kept as an operand: in fp8, if the strategy multiplies in fp8
  std::optional<DType> dtype = {};  // of the product, where it is not that of linear layers
};

/// A row-parallel layer: `in` [T, k], k of this rank; `out` [T/t, n] with sequence parallelism.
struct RowParallel {
  OpCode gemm = OpCode::attn_out;
  OpCode scatter = OpCode::tp_attn_out;
  TensorRole in = TensorRole::attn_out, part = TensorRole::proj_part, out = TensorRole::proj;
  TensorRole d_out = TensorRole::d_x_mid, d_full = TensorRole::d_proj, d_in = TensorRole::d_attn_out;
  int d_out_offset = 0;  // layer offset of d_out
  std::int64_t n = 0, k = 0;
};

class TensorParallel {
 public:
  explicit TensorParallel(const RuleContext& context) : c_(context) {}

  void forward(const ColumnParallel& layer, std::vector<OpRule>& fwd) const;
  void input_gradient(const ColumnParallel& layer, std::vector<OpRule>& igrad) const;
  void weight_gradient(const ColumnParallel& layer, std::vector<OpRule>& wgrad) const;

  void forward(const RowParallel& layer, std::vector<OpRule>& fwd) const;
  void input_gradient(const RowParallel& layer, std::vector<OpRule>& igrad) const;
  void weight_gradient(const RowParallel& layer, std::vector<OpRule>& wgrad) const;

  /// Gathers `from` [T/t, w] to `to` [T, w]. Requires: sequence parallelism.
  OpRule gather(OpCode op, Pass pass, const RoleUse& from, const RoleUse& to) const;
  /// Sums `part` [T, w] over the group and leaves each rank its tokens in `to`. Requires: sequence parallelism.
  OpRule scatter(OpCode op, Pass pass, TensorRole part, const RoleUse& to) const;
  /// Sums `tensor` over the group, in place. Requires: tp > 1.
  OpRule all_reduce(OpCode op, Pass pass, TensorRole tensor) const;

 private:
  std::int64_t num_slices() const { return c_.strategy.overlap.tp && c_.sequence_parallel() ? c_.tp : 1; }
  OpRule product(const ColumnParallel& layer, Pass pass, std::int64_t m, const std::vector<RoleUse>& uses) const;
  /// What a product reads: its input, gathered with sequence parallelism; and the gradient of its output, likewise.
  RoleUse input(const ColumnParallel& layer) const;
  RoleUse full_input(const ColumnParallel& layer, Rows rows) const;
  RoleUse output_gradient(const RowParallel& layer) const;

  const RuleContext& c_;
};

}  // namespace orrery::lowering
