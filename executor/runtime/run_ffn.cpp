// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "executor/kernels/elementwise.h"
#include "executor/runtime/rank_state.h"

namespace orrery::executor {

void run_ffn(OpCall& call) {
  using R = TensorRole;
  using W = WeightRole;
  const OpCode op = call.op.key.op;
  if (op == OpCode::mlp_norm) {
    run_norm(call, W::mlp_norm, R::x_mid, R::norm2, R::d_x_mid, R::d_norm2, R::d_x);
  } else if (op == OpCode::mlp_fc1) {
    run_linear(call, W::mlp_fc1, R::norm2, R::fc1, R::d_norm2, R::d_fc1);
  } else if (op == OpCode::mlp_act) {
    run_swiglu(call, R::fc1, R::act, R::d_fc1, R::d_act);
  } else if (op == OpCode::mlp_fc2) {
    run_linear(call, W::mlp_fc2, R::act, R::ffn_out, R::d_act, R::d_x);
  } else if (op == OpCode::mlp_residual) {
    add(call.tensor(R::x_mid), call.tensor(R::ffn_out), call.tensor(R::x));
  } else if (op == OpCode::shared_fc1) {
    run_linear(call, W::shared_fc1, R::norm2, R::shared_fc1, R::d_norm2, R::d_shared_fc1, /*adds=*/true);
  } else if (op == OpCode::shared_act) {
    run_swiglu(call, R::shared_fc1, R::shared_act, R::d_shared_fc1, R::d_shared_act);
  } else if (op == OpCode::shared_fc2) {
    run_linear(call, W::shared_fc2, R::shared_act, R::shared_out, R::d_shared_act, R::d_x);
  } else {
    CHECK(false, call.key);
  }
}

}  // namespace orrery::executor
