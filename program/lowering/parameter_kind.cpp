// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/parameter_kind.h"

namespace orrery::lowering {

ParameterKind parameter_kind(FlatBufferKind kind, const Strategy& s) {
  if (kind == FlatBufferKind::dense) {
    return {.kind = kind,
            .zero = s.zero_dense,
            .queue = Queue::dp,
            .whole = Group::dp,
            .shard = sharding_group(Group::dp, s),
            .replica = Group::dp_replica,
            .cast = OpCode::dp_grad_cast,
            .scatter = OpCode::dp_grad_rs,
            .all_reduce = OpCode::dp_grad_ar,
            .over_replicas = OpCode::dp_replica_ar,
            .gather = OpCode::dp_param_ag,
            .update = OpCode::adamw_dense,
            .orthogonalise = OpCode::muon_dense,
            .wire = TensorRole::wire_grads,
            .weights = TensorRole::layer_weights,
            .gradients = TensorRole::grad_bucket};
  }
  return {.kind = kind,
          .zero = s.zero_expert,
          .queue = Queue::edp,
          .whole = Group::edp,
          .shard = sharding_group(Group::edp, s),
          .replica = Group::edp_replica,
          .cast = OpCode::edp_grad_cast,
          .scatter = OpCode::edp_grad_rs,
          .all_reduce = OpCode::edp_grad_ar,
          .over_replicas = OpCode::edp_replica_ar,
          .gather = OpCode::edp_param_ag,
          .update = OpCode::adamw_expert,
          .orthogonalise = OpCode::muon_expert,
          .wire = TensorRole::expert_wire_grads,
          .weights = TensorRole::expert_layer_weights,
          .gradients = TensorRole::expert_grad_bucket};
}

}  // namespace orrery::lowering
