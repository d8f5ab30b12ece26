// SPDX-License-Identifier: Apache-2.0
// Collects the ops of a block for costmodel/layer_ops.cpp: sizes that all blocks share, and the few patterns that they
// are made of. Widths are elements per row of one rank; memory traffic counts each operand once.
#pragma once

#include "costmodel/layer_ops.h"

#include <cstdint>
#include <utility>
#include <vector>

namespace orrery::costmodel {

class BlockOps {
 public:
  BlockOps(const Model& model, const Strategy& strategy, const BatchShape& batch);

  std::vector<LayerOp> take() { return std::move(ops_); }

  /// Ops that are added from here on belong to `part`.
  void enter(OpPart part) { part_ = part; }

  const Model& model;
  const Strategy& strategy;
  const std::int64_t seq, tp;
  const std::int64_t element;  // bytes of one
  const std::int64_t tokens;   // of a micro-batch on a rank, within attention and FFN
  const std::int64_t local;    // of the residual stream: a t-th with sequence parallelism
  const std::int64_t hidden;

  bool sequence_parallel() const { return strategy.sp; }
  std::int64_t row(std::int64_t width) const { return width * element; }  // bytes
  std::int64_t operand(std::int64_t width) const;                         // of what a linear layer multiplies
  /// The activation function of a product's output of `in` elements into an operand of `out`; reads `more` bytes beside
  /// it, and their gradient is written. `clamped`: elements that it cuts off at a limit.
  struct Activation {
    OpCode quant, act;
    std::int64_t in = 0, out = 0, more = 0, clamped = 0;
  };
  void activation(const Activation& a, const Rows& rows);
  /// The cast of its input to fp8, if the strategy keeps that.
  void quantise(const Activation& a, const Rows& rows);
  static Rows fixed(std::int64_t count) { return {Rows::Kind::fixed, count}; }

  /// Bytes per row, and MemoryShape::clamped_per_row.
  struct Traffic {
    std::int64_t read = 0, written = 0, clamped = 0;
  };
  void add(OpCode op, Pass pass, const OpShape& shape, std::int64_t count = 1);
  void memory(OpCode op, Pass pass, const Rows& rows, Traffic bytes);
  void collective(OpCode op, Pass pass, CollectiveKind kind, Group group, std::int64_t bytes, std::int64_t count = 1);
  void product(OpCode op, Pass pass, std::int64_t m, std::int64_t n, std::int64_t k, DType type,
               std::int64_t count = 1);
  /// All three passes of a linear layer that each rank does for itself.
  void products(OpCode op, std::int64_t m, std::int64_t n, std::int64_t k, DType type);

  /// A linear layer over the TP group, with its collectives: outputs divided, or inputs divided. `in_row`: bytes of a
  /// row of the input; `type` of the product.
  void column(OpCode gather, OpCode gemm, std::int64_t n, std::int64_t k, std::int64_t in_row, DType type);
  void row_parallel(OpCode gemm, OpCode scatter, std::int64_t n, std::int64_t k);

  /// RMSNorm over the residual stream into rows of `out_row` bytes; backward reads `num_gradients` beside its input.
  void norm(OpCode op, std::int64_t out_row, std::int64_t num_gradients);
  void residual(OpCode op, std::int64_t num_summands);

 private:
  std::int64_t num_slices() const { return strategy.overlap.tp && strategy.sp ? tp : 1; }

  OpPart part_ = OpPart::kept;
  std::vector<LayerOp> ops_;
};

/// Between the norm and the residual of an MoE layer: shared experts, router, dispatch, experts.
void add_experts(BlockOps& block);

}  // namespace orrery::costmodel
