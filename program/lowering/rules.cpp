// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/rules.h"

#include "base/check.h"

#include <algorithm>

namespace orrery::lowering {

RoleUse read(TensorRole role, int layer_offset) { return {.role = role, .layer_offset = layer_offset}; }

RoleUse modify(TensorRole role, int layer_offset) {
  return {.role = role, .access = Access::modify, .layer_offset = layer_offset};
}

RoleUse create(TensorRole role, Rows rows, std::int64_t width, DType dtype, int layer_offset) {
  return {.role = role,
          .access = Access::create,
          .layer_offset = layer_offset,
          .rows = rows,
          .width = width,
          .dtype = dtype};
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
      tp(the_strategy.tp),
      tokens(batch.seq / the_strategy.cp * the_strategy.micro_batch),
      local_tokens(the_strategy.sp ? tokens / tp : tokens),
      dtype(compute_dtype(the_strategy)),
      operand(the_strategy.precision),
      shapes(the_shapes) {
  // What one block reads of another's: the residual stream and its gradients.
  for (const TensorRole role : {TensorRole::x, TensorRole::x_mid, TensorRole::d_x, TensorRole::d_x_mid}) {
    created_[role] = {.rows = local_rows(), .row_bytes = model.hidden * size_of(dtype)};
  }
}

std::int64_t RuleContext::operand_row(std::int64_t width) const {
  return operand == DType::fp8 ? fp8_row(width, strategy.fp8_recipe) : width * size_of(operand);
}

RoleUse RuleContext::create_operand(TensorRole role, Rows rows, std::int64_t width, int layer_offset) const {
  return create(role, rows, operand_row(width) / size_of(operand), operand, layer_offset);
}

TensorRole RuleContext::activation_input(TensorRole out, TensorRole kept, OpCode quant, Rows rows, std::int64_t width,
                                         std::vector<OpRule>& forward) const {
  if (!strategy.fp8_activation_input) return out;
  const std::int64_t row = fp8_row(width, strategy.fp8_recipe);
  forward.push_back(memory(quant, Pass::fwd, 2 * width, {read(out), create(kept, rows, row, DType::fp8)}));
  return kept;
}

OpRule RuleContext::gemm(OpCode op, Pass pass, std::int64_t m, std::int64_t n, std::int64_t k,
                         const std::vector<RoleUse>& uses) const {
  return gemm(op, pass, m, n, k, operand, uses);
}

OpRule RuleContext::gemm(OpCode op, Pass pass, std::int64_t m, std::int64_t n, std::int64_t k, DType type,
                         const std::vector<RoleUse>& uses) const {
  const GemmShape shape{.m = m, .n = n, .k = k, .dtype = type, .accumulate = strategy.grad_dtype};
  return with_shape(op, pass, Queue::compute, shape, uses);
}

OpRule RuleContext::memory(OpCode op, Pass pass, std::int64_t flops_per_row, const std::vector<RoleUse>& uses,
                           std::int64_t clamped) const {
  OpRule rule = remember({.op = op, .pass = pass, .queue = Queue::compute, .shape = 0, .uses = uses});
  const auto leads = [](Access access) { return [access](const RoleUse& use) { return use.access == access; }; };
  auto leading = std::find_if(uses.begin(), uses.end(), leads(Access::create));
  if (leading == uses.end()) leading = std::find_if(uses.begin(), uses.end(), leads(Access::modify));
  CHECK(leading != uses.end(), name_of(op));
  MemoryShape shape{.rows = created(leading->role).rows, .flops_per_row = flops_per_row, .clamped_per_row = clamped};
  for (const RoleUse& use : uses) {
    const std::int64_t bytes = created(use.role).row_bytes;
    if (use.access != Access::create) shape.read_per_row += bytes;
    if (use.access != Access::read) shape.written_per_row += bytes;
  }
  rule.shape = shapes.id_of(shape);
  return rule;
}

OpRule RuleContext::memory(OpCode op, Pass pass, const MemoryShape& shape, const std::vector<RoleUse>& uses) const {
  return with_shape(op, pass, Queue::compute, shape, uses);
}

OpRule RuleContext::with_shape(OpCode op, Pass pass, Queue queue, const OpShape& shape,
                               const std::vector<RoleUse>& uses) const {
  return remember({.op = op, .pass = pass, .queue = queue, .shape = shapes.id_of(shape), .uses = uses, .follows = op});
}

const RuleContext::Created& RuleContext::created(TensorRole role) const {
  const auto found = created_.find(role);
  CHECK(found != created_.end(), name_of(role));
  return found->second;
}

OpRule RuleContext::remember(OpRule rule) const {
  for (const RoleUse& use : rule.uses) {
    if (use.access != Access::create) continue;
    created_[use.role] = {.rows = use.rows, .row_bytes = use.width * size_of(use.dtype)};
  }
  return rule;
}

BlockRules attention_rules(const RuleContext& context, std::int64_t layer) {
  if (const auto* gqa = std::get_if<GroupedQueryAttention>(&context.model.attention)) {
    return gqa_rules(context, *gqa, layer);
  }
  return mla_rules(context, std::get<MultiHeadLatentAttention>(context.model.attention), layer);
}

}  // namespace orrery::lowering
