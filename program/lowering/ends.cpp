// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/rules.h"
#include "program/lowering/tensor_parallel.h"

namespace orrery::lowering {

using R = TensorRole;

// Under TP each rank holds a part of the vocabulary: it looks up what it has, and the sum over ranks is the row.
BlockRules embedding_rules(const RuleContext& c) {
  const TensorParallel tp(c);
  const Rows rows = c.token_rows();
  const std::int64_t h = c.model.hidden, row = h * size_of(c.dtype);
  const std::int64_t gradient_row = h * size_of(c.strategy.grad_dtype);
  const RoleUse x = create(R::x, c.local_rows(), h, c.dtype);
  BlockRules rules;
  const R looked_up = c.sequence_parallel() ? R::embed_part : R::x;
  rules.fwd.push_back(c.memory(OpCode::embed_lookup, Pass::fwd,
                               MemoryShape{.rows = rows, .read_per_row = row, .written_per_row = row},
                               {create(R::tokens, rows, 1, DType::i64), create(looked_up, rows, h, c.dtype)}));
  R d_looked_up = R::d_x;
  if (c.sequence_parallel()) {
    rules.fwd.push_back(tp.scatter(OpCode::tp_embed, Pass::fwd, R::embed_part, x));
    d_looked_up = R::d_embed;
    rules.wgrad.push_back(tp.gather(OpCode::tp_embed, Pass::wgrad, read(R::d_x), create(R::d_embed, rows, h, c.dtype)));
  } else if (c.tp > 1) {
    rules.fwd.push_back(tp.all_reduce(OpCode::tp_embed, Pass::fwd, R::x));
  }
  rules.wgrad.push_back(c.memory(
      OpCode::embed_lookup, Pass::wgrad,
      MemoryShape{
          .rows = rows, .read_per_row = row + gradient_row, .written_per_row = gradient_row, .flops_per_row = h},
      {read(R::tokens), read(d_looked_up)}));
  return rules;
}

// Logits stay in the model's dtype; the softmax that the backward needs is kept in f32 (fused cross-entropy). Under TP
// the maximum of a row, and then its sum with the label's logit, are reduced over the parts of the vocabulary
// (Megatron-LM, fused_cross_entropy.py).
BlockRules head_rules(const RuleContext& c, bool adds_to_d_x) {
  const TensorParallel tp(c);
  const Rows rows = c.token_rows(), local = c.local_rows();
  const std::int64_t h = c.model.hidden, vocab = c.model.vocab / c.tp;
  const ColumnParallel logits{.gather = OpCode::tp_head_in,
                              .gemm = OpCode::head_logits,
                              .in = R::head_norm,
                              .in_full = R::head_full,
                              .out = R::logits,
                              .d_out = R::d_logits,
                              .d_part = R::d_head_part,
                              .d_in = R::d_head_norm,
                              .n = vocab,
                              .k = h,
                              .operand_in = false,
                              .dtype = c.dtype};
  BlockRules rules;
  rules.fwd.push_back(
      c.memory(OpCode::head_norm, Pass::fwd, 5 * h, {read(R::x), create(R::head_norm, local, h, c.dtype)}));
  tp.forward(logits, rules.fwd);
  std::vector<RoleUse> of_loss = {read(R::logits)};
  if (c.tp > 1) {
    rules.fwd.push_back(
        c.memory(OpCode::head_max, Pass::fwd, vocab, {read(R::logits), create(R::logits_max, rows, 1, DType::f32)}));
    rules.fwd.push_back(tp.all_reduce(OpCode::tp_loss_max, Pass::fwd, R::logits_max));
    of_loss.push_back(read(R::logits_max));
  }
  of_loss.push_back(create(R::labels, rows, 1, DType::i64));
  of_loss.push_back(create(R::softmax, rows, vocab, DType::f32));
  rules.fwd.push_back(c.memory(OpCode::head_loss, Pass::fwd, 5 * vocab, of_loss));
  if (c.tp > 1) {
    const CollectiveShape sums{.kind = CollectiveKind::all_reduce, .group = Group::tp, .bytes = 8 * c.tokens};
    rules.fwd.push_back(c.with_shape(OpCode::tp_loss_sum, Pass::fwd, Queue::tp, sums, {modify(R::softmax)}));
  }

  rules.igrad.push_back(c.memory(OpCode::head_loss, Pass::igrad, 2 * vocab,
                                 {read(R::softmax), read(R::labels), create(R::d_logits, rows, vocab, c.dtype)}));
  tp.input_gradient(logits, rules.igrad);
  const RoleUse d_x = adds_to_d_x ? modify(R::d_x) : create(R::d_x, local, h, c.dtype);
  rules.igrad.push_back(c.memory(OpCode::head_norm, Pass::igrad, 10 * h, {read(R::x), read(R::d_head_norm), d_x}));
  tp.weight_gradient(logits, rules.wgrad);
  return rules;
}

}  // namespace orrery::lowering
