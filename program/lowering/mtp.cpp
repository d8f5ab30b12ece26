// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/rules.h"
#include "program/lowering/tensor_parallel.h"

namespace orrery::lowering {

// The projection of the pair is repeated on every TP rank, on its tokens alone with sequence parallelism.
BlockRules mtp_rules(const RuleContext& c, bool adds_to_d_x) {
  using R = TensorRole;
  const TensorParallel tp(c);
  const Rows rows = c.token_rows(), local = c.local_rows();
  const std::int64_t h = c.model.hidden, row = h * size_of(c.dtype);
  const std::int64_t gradient_row = h * size_of(c.strategy.grad_dtype);
  const R looked_up = c.sequence_parallel() ? R::mtp_part : R::mtp_embed;
  BlockRules rules;
  auto& fwd = rules.fwd;
  fwd.push_back(c.memory(OpCode::mtp_embed, Pass::fwd,
                         MemoryShape{.rows = rows, .read_per_row = row, .written_per_row = row},
                         {create(R::mtp_tokens, rows, 1, DType::i64), create(looked_up, rows, h, c.dtype)}));
  if (c.sequence_parallel()) {
    fwd.push_back(tp.scatter(OpCode::tp_embed, Pass::fwd, R::mtp_part, create(R::mtp_embed, local, h, c.dtype)));
  } else if (c.tp > 1) {
    fwd.push_back(tp.all_reduce(OpCode::tp_embed, Pass::fwd, R::mtp_embed));
  }
  fwd.push_back(c.memory(OpCode::mtp_norm, Pass::fwd, 10 * h,
                         {read(R::x, -1), read(R::mtp_embed), c.create_operand(R::mtp_pair, local, 2 * h)}));
  fwd.push_back(
      c.gemm(OpCode::mtp_proj, Pass::fwd, local.count, h, 2 * h, {read(R::mtp_pair), create(R::x, local, h, c.dtype)}));

  rules.igrad.push_back(c.gemm(OpCode::mtp_proj, Pass::igrad, local.count, h, 2 * h,
                               {read(R::d_x), create(R::d_mtp_pair, local, 2 * h, c.dtype)}));
  const RoleUse d_hidden = adds_to_d_x ? modify(R::d_x, -1) : create(R::d_x, local, h, c.dtype, -1);
  rules.igrad.push_back(c.memory(
      OpCode::mtp_norm, Pass::igrad, 20 * h,
      {read(R::x, -1), read(R::mtp_embed), read(R::d_mtp_pair), d_hidden, create(R::d_mtp_embed, local, h, c.dtype)}));

  rules.wgrad.push_back(
      c.gemm(OpCode::mtp_proj, Pass::wgrad, local.count, h, 2 * h, {read(R::mtp_pair), read(R::d_x)}));
  R d_looked_up = R::d_mtp_embed;
  if (c.sequence_parallel()) {
    d_looked_up = R::d_embed;
    rules.wgrad.push_back(
        tp.gather(OpCode::tp_embed, Pass::wgrad, read(R::d_mtp_embed), create(R::d_embed, rows, h, c.dtype)));
    rules.wgrad.back().follows = OpCode::mtp_norm;
  }
  rules.wgrad.push_back(c.memory(
      OpCode::mtp_embed, Pass::wgrad,
      MemoryShape{
          .rows = rows, .read_per_row = row + gradient_row, .written_per_row = gradient_row, .flops_per_row = h},
      {read(R::mtp_tokens), read(d_looked_up)}));
  rules.wgrad.back().follows = OpCode::mtp_norm;
  return rules;
}

}  // namespace orrery::lowering
