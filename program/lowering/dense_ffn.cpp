// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/rules.h"
#include "program/lowering/tensor_parallel.h"

namespace orrery::lowering {

BlockRules dense_ffn_rules(const RuleContext& c) {
  using R = TensorRole;
  const TensorParallel tp(c);
  const Rows rows = c.token_rows(), local = c.local_rows();
  const DType t = c.dtype;
  const std::int64_t h = c.model.hidden, f = c.model.dense_width / c.tp, f1 = c.model.fc1_width(f);
  const ColumnParallel fc1{.gather = OpCode::tp_mlp_in,
                           .gemm = OpCode::mlp_fc1,
                           .in = R::norm2,
                           .in_full = R::norm2_full,
                           .out = R::fc1,
                           .d_out = R::d_fc1,
                           .d_part = R::d_norm2_part,
                           .d_in = R::d_norm2,
                           .n = f1,
                           .k = h};
  const RowParallel fc2{.gemm = OpCode::mlp_fc2,
                        .scatter = OpCode::tp_mlp_out,
                        .in = R::act,
                        .part = R::ffn_part,
                        .out = R::ffn_out,
                        .d_out = R::d_x,
                        .d_full = R::d_ffn_out,
                        .d_in = R::d_act,
                        .d_out_offset = 1,
                        .n = h,
                        .k = f};
  BlockRules rules;
  rules.fwd.push_back(
      c.memory(OpCode::mlp_norm, Pass::fwd, 5 * h, {read(R::x_mid), c.create_operand(R::norm2, local, h)}));
  tp.forward(fc1, rules.fwd);
  const R act_in = c.activation_input(R::fc1, R::fc1_fp8, OpCode::mlp_act_quant, rows, f1, rules.fwd);
  rules.fwd.push_back(c.memory(OpCode::mlp_act, Pass::fwd, 5 * f, {read(act_in), c.create_operand(R::act, rows, f)}));
  tp.forward(fc2, rules.fwd);
  rules.fwd.push_back(
      c.memory(OpCode::mlp_residual, Pass::fwd, h, {read(R::x_mid), read(R::ffn_out), create(R::x, local, h, t, 1)}));

  tp.input_gradient(fc2, rules.igrad);
  rules.igrad.push_back(
      c.memory(OpCode::mlp_act, Pass::igrad, 10 * f, {read(act_in), read(R::d_act), create(R::d_fc1, rows, f1, t)}));
  tp.input_gradient(fc1, rules.igrad);
  rules.igrad.push_back(c.memory(OpCode::mlp_norm, Pass::igrad, 10 * h,
                                 {read(R::x_mid), read(R::d_norm2), read(R::d_x, 1), create(R::d_x_mid, local, h, t)}));

  tp.weight_gradient(fc2, rules.wgrad);
  tp.weight_gradient(fc1, rules.wgrad);
  return rules;
}

}  // namespace orrery::lowering
