// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/rules.h"

namespace orrery::lowering {

BlockRules dense_ffn_rules(const RuleContext& c) {
  using R = TensorRole;
  const Rows rows = c.token_rows();
  const DType t = c.dtype;
  const std::int64_t h = c.model.hidden, f = c.model.dense_width;
  BlockRules rules;
  rules.fwd = {
      c.memory(OpCode::mlp_norm, Pass::fwd, 5 * h, {read(R::x_mid), create(R::norm2, rows, h, t)}),
      c.gemm(OpCode::mlp_fc1, Pass::fwd, 2 * f, h, {read(R::norm2), create(R::fc1, rows, 2 * f, t)}),
      c.memory(OpCode::mlp_act, Pass::fwd, 5 * f, {read(R::fc1), create(R::act, rows, f, t)}),
      c.gemm(OpCode::mlp_fc2, Pass::fwd, h, f, {read(R::act), create(R::ffn_out, rows, h, t)}),
      c.memory(OpCode::mlp_residual, Pass::fwd, h, {read(R::x_mid), read(R::ffn_out), create(R::x, rows, h, t, 1)}),
  };
  rules.igrad = {
      c.gemm(OpCode::mlp_fc2, Pass::igrad, h, f, {read(R::d_x, 1), create(R::d_act, rows, f, t)}),
      c.memory(OpCode::mlp_act, Pass::igrad, 10 * f, {read(R::fc1), read(R::d_act), create(R::d_fc1, rows, 2 * f, t)}),
      c.gemm(OpCode::mlp_fc1, Pass::igrad, 2 * f, h, {read(R::d_fc1), create(R::d_norm2, rows, h, t)}),
      c.memory(OpCode::mlp_norm, Pass::igrad, 10 * h,
               {read(R::x_mid), read(R::d_norm2), read(R::d_x, 1), create(R::d_x_mid, rows, h, t)}),
  };
  rules.wgrad = {
      c.gemm(OpCode::mlp_fc2, Pass::wgrad, h, f, {read(R::act), read(R::d_x, 1)}),
      c.gemm(OpCode::mlp_fc1, Pass::wgrad, 2 * f, h, {read(R::norm2), read(R::d_fc1)}),
  };
  return rules;
}

}  // namespace orrery::lowering
