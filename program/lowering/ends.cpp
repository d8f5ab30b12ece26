// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/rules.h"

namespace orrery::lowering {

using R = TensorRole;

BlockRules embedding_rules(const RuleContext& c) {
  const Rows rows = c.token_rows();
  const std::int64_t h = c.model.hidden, row = h * size_of(c.dtype);
  const std::int64_t gradient_row = h * size_of(c.strategy.grad_dtype);
  BlockRules rules;
  rules.fwd = {c.memory(OpCode::embed_lookup, Pass::fwd,
                        MemoryShape{.rows = rows, .read_per_row = row, .written_per_row = row},
                        {create(R::tokens, rows, 1, DType::i64), create(R::x, rows, h, c.dtype)})};
  rules.wgrad = {c.memory(
      OpCode::embed_lookup, Pass::wgrad,
      MemoryShape{
          .rows = rows, .read_per_row = row + gradient_row, .written_per_row = gradient_row, .flops_per_row = h},
      {read(R::tokens), read(R::d_x)})};
  return rules;
}

// Logits stay in the model's dtype; the softmax that the backward needs is kept in f32 (fused cross-entropy).
BlockRules head_rules(const RuleContext& c) {
  const Rows rows = c.token_rows();
  const std::int64_t h = c.model.hidden, vocab = c.model.vocab;
  BlockRules rules;
  rules.fwd = {
      c.memory(OpCode::head_norm, Pass::fwd, 5 * h, {read(R::x), create(R::head_norm, rows, h, c.dtype)}),
      c.gemm(OpCode::head_logits, Pass::fwd, vocab, h, {read(R::head_norm), create(R::logits, rows, vocab, c.dtype)}),
      c.memory(OpCode::head_loss, Pass::fwd, 5 * vocab,
               {read(R::logits), create(R::labels, rows, 1, DType::i64), create(R::softmax, rows, vocab, DType::f32)}),
  };
  rules.igrad = {
      c.memory(OpCode::head_loss, Pass::igrad, 2 * vocab,
               {read(R::softmax), read(R::labels), create(R::d_logits, rows, vocab, c.dtype)}),
      c.gemm(OpCode::head_logits, Pass::igrad, vocab, h, {read(R::d_logits), create(R::d_head_norm, rows, h, c.dtype)}),
      c.memory(OpCode::head_norm, Pass::igrad, 10 * h,
               {read(R::x), read(R::d_head_norm), create(R::d_x, rows, h, c.dtype)}),
  };
  rules.wgrad = {c.gemm(OpCode::head_logits, Pass::wgrad, vocab, h, {read(R::head_norm), read(R::d_logits)})};
  return rules;
}

}  // namespace orrery::lowering
