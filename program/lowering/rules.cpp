// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/rules.h"

#include "base/check.h"

namespace orrery::lowering {

RoleUse read(TensorRole role, int layer_offset) { return {role, Access::read, layer_offset}; }

RoleUse modify(TensorRole role) { return {role, Access::modify}; }

RoleUse create(TensorRole role, Rows rows, std::int64_t width, DType dtype, int layer_offset) {
  return {role, Access::create, layer_offset, rows, width, dtype};
}

ShapeId ShapeTable::id_of(const OpShape& shape) {
  const auto [found, is_new] = ids_.try_emplace(shape, static_cast<ShapeId>(shapes_.size()));
  if (is_new) shapes_.push_back(shape);
  return found->second;
}

RuleContext::RuleContext(const Model& the_model, const Strategy& the_strategy, const BatchShape& batch,
                         ShapeTable& the_shapes)
    : model(the_model),
      strategy(the_strategy),
      seq(batch.seq),
      tokens(batch.seq * the_strategy.micro_batch),
      dtype(the_strategy.precision),
      shapes(the_shapes) {
  // What one block reads of another's: the residual stream and its gradients.
  for (const TensorRole role : {TensorRole::x, TensorRole::x_mid, TensorRole::d_x, TensorRole::d_x_mid}) {
    created_row_bytes_[role] = model.hidden * size_of(dtype);
  }
}

OpRule RuleContext::gemm(OpCode op, Pass pass, std::int64_t n, std::int64_t k, const std::vector<RoleUse>& uses) const {
  return gemm(op, pass, n, k, dtype, uses);
}

OpRule RuleContext::gemm(OpCode op, Pass pass, std::int64_t n, std::int64_t k, DType type,
                         const std::vector<RoleUse>& uses) const {
  const GemmShape shape{.m = tokens, .n = n, .k = k, .dtype = type, .accumulate = strategy.grad_dtype};
  return with_shape(op, pass, Queue::compute, shape, uses);
}

OpRule RuleContext::memory(OpCode op, Pass pass, std::int64_t flops_per_row, const std::vector<RoleUse>& uses) const {
  OpRule rule = remember({op, pass, Queue::compute, 0, uses});
  MemoryShape shape{.rows = token_rows(), .flops_per_row = flops_per_row};
  for (const RoleUse& use : uses) {
    const std::int64_t bytes = row_bytes(use);
    if (use.access != Access::create) shape.read_per_row += bytes;
    if (use.access != Access::read) shape.written_per_row += bytes;
    if (use.access == Access::create) shape.rows = use.rows;
  }
  rule.shape = shapes.id_of(shape);
  return rule;
}

OpRule RuleContext::memory(OpCode op, Pass pass, const MemoryShape& shape, const std::vector<RoleUse>& uses) const {
  return with_shape(op, pass, Queue::compute, shape, uses);
}

OpRule RuleContext::with_shape(OpCode op, Pass pass, Queue queue, const OpShape& shape,
                               const std::vector<RoleUse>& uses) const {
  return remember({op, pass, queue, shapes.id_of(shape), uses});
}

std::int64_t RuleContext::row_bytes(const RoleUse& use) const {
  const auto found = created_row_bytes_.find(use.role);
  CHECK(found != created_row_bytes_.end(), name_of(use.role));
  return found->second;
}

OpRule RuleContext::remember(OpRule rule) const {
  for (const RoleUse& use : rule.uses) {
    if (use.access == Access::create) created_row_bytes_[use.role] = use.width * size_of(use.dtype);
  }
  return rule;
}

BlockRules attention_rules(const RuleContext& context) {
  if (const auto* gqa = std::get_if<GroupedQueryAttention>(&context.model.attention)) return gqa_rules(context, *gqa);
  return mla_rules(context, std::get<MultiHeadLatentAttention>(context.model.attention));
}

}  // namespace orrery::lowering
