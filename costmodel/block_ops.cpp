// SPDX-License-Identifier: Apache-2.0
#include "costmodel/block_ops.h"

namespace orrery::costmodel {
namespace {

constexpr std::size_t kUsualOps = 64;  // of half a layer

}  // namespace

BlockOps::BlockOps(const Model& the_model, const Strategy& the_strategy, const BatchShape& batch)
    : model(the_model),
      strategy(the_strategy),
      seq(batch.seq),
      tp(the_strategy.tp),
      element(size_of(compute_dtype(the_strategy))),
      tokens(batch.seq * the_strategy.micro_batch / the_strategy.cp),
      local(the_strategy.sp ? tokens / tp : tokens),
      hidden(the_model.hidden) {
  ops_.reserve(kUsualOps);
}

std::int64_t BlockOps::operand(std::int64_t width) const {
  return strategy.precision == DType::fp8 ? fp8_row(width, strategy.fp8_recipe) : row(width);
}

void BlockOps::quantise(const Activation& a, const Rows& rows) {
  if (strategy.fp8_activation_input) memory(a.quant, Pass::fwd, rows, {row(a.in), fp8_row(a.in, strategy.fp8_recipe)});
}

void BlockOps::activation(const Activation& a, const Rows& rows) {
  const std::int64_t kept = strategy.fp8_activation_input ? fp8_row(a.in, strategy.fp8_recipe) : row(a.in);
  memory(a.act, Pass::fwd, rows, {kept + a.more, operand(a.out), a.clamped});
  memory(a.act, Pass::igrad, rows, {kept + row(a.out) + a.more, row(a.in) + a.more, a.clamped});
}

void BlockOps::add(OpCode op, Pass pass, const OpShape& shape, std::int64_t count) {
  ops_.push_back({.op = op, .pass = pass, .shape = shape, .part = part_, .count = count});
}

void BlockOps::memory(OpCode op, Pass pass, const Rows& rows, Traffic bytes) {
  add(op, pass,
      MemoryShape{.rows = rows,
                  .read_per_row = bytes.read,
                  .written_per_row = bytes.written,
                  .clamped_per_row = bytes.clamped});
}

void BlockOps::collective(OpCode op, Pass pass, CollectiveKind kind, Group group, std::int64_t bytes,
                          std::int64_t count) {
  add(op, pass, CollectiveShape{.kind = kind, .group = group, .bytes = bytes}, count);
}

void BlockOps::product(OpCode op, Pass pass, std::int64_t m, std::int64_t n, std::int64_t k, DType type,
                       std::int64_t count) {
  add(op, pass, GemmShape{.m = m, .n = n, .k = k, .dtype = type, .accumulate = strategy.grad_dtype}, count);
}

void BlockOps::products(OpCode op, std::int64_t m, std::int64_t n, std::int64_t k, DType type) {
  for (const Pass pass : {Pass::fwd, Pass::igrad, Pass::wgrad}) product(op, pass, m, n, k, type);
}

// Forward and input gradient can be cut into slices with their collectives; the weight gradient is whole.
void BlockOps::column(OpCode gather, OpCode gemm, std::int64_t n, std::int64_t k, std::int64_t in_row, DType type) {
  const std::int64_t slices = num_slices(), m = tokens / slices;
  product(gemm, Pass::fwd, m, n, k, type, slices);
  product(gemm, Pass::igrad, m, n, k, type, slices);
  product(gemm, Pass::wgrad, tokens, n, k, type);
  if (sequence_parallel()) {
    collective(gather, Pass::fwd, CollectiveKind::all_gather, Group::tp, m * in_row, slices);
    collective(gather, Pass::igrad, CollectiveKind::reduce_scatter, Group::tp, m * row(k), slices);
    collective(gather, Pass::wgrad, CollectiveKind::all_gather, Group::tp, tokens * in_row);
  } else if (tp > 1) {
    collective(gather, Pass::igrad, CollectiveKind::all_reduce, Group::tp, tokens * row(k));
  }
}

void BlockOps::row_parallel(OpCode gemm, OpCode scatter, std::int64_t n, std::int64_t k) {
  const std::int64_t slices = num_slices(), m = tokens / slices;
  product(gemm, Pass::fwd, m, n, k, strategy.precision, slices);
  product(gemm, Pass::igrad, tokens, n, k, strategy.precision);
  product(gemm, Pass::wgrad, tokens, n, k, strategy.precision);
  if (sequence_parallel()) {
    collective(scatter, Pass::fwd, CollectiveKind::reduce_scatter, Group::tp, m * row(n), slices);
    collective(scatter, Pass::igrad, CollectiveKind::all_gather, Group::tp, tokens * row(n));
  } else if (tp > 1) {
    collective(scatter, Pass::fwd, CollectiveKind::all_reduce, Group::tp, tokens * row(n));
  }
}

void BlockOps::norm(OpCode op, std::int64_t out_row, std::int64_t num_gradients) {
  memory(op, Pass::fwd, fixed(local), {row(hidden), out_row});
  memory(op, Pass::igrad, fixed(local), {(1 + num_gradients) * row(hidden), row(hidden)});
}

void BlockOps::residual(OpCode op, std::int64_t num_summands) {
  memory(op, Pass::fwd, fixed(local), {num_summands * row(hidden), row(hidden)});
}

}  // namespace orrery::costmodel
