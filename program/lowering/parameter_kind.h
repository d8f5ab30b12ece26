// SPDX-License-Identifier: Apache-2.0
// What serves one of the two kinds of parameters, dense and expert: its ZeRO stage, its queue and groups, the ops that
// exchange and update it. Whoever moves gradients or weights takes them from here.
#pragma once

#include "program/flat_buffer.h"
#include "program/op.h"
#include "program/op_key.h"
#include "program/step_program.h"

namespace orrery::lowering {

struct ParameterKind {
  FlatBufferKind kind;
  int zero;
  Queue queue;
  Group whole, shard, replica;  // `shard`: over which states are sharded; `replica`: instances of hybrid sharding
  OpCode cast, scatter, all_reduce, over_replicas;  // of gradients
  OpCode gather;                                    // of weights
  OpCode update, orthogonalise;
  TensorRole wire;                // gradients in the type in which they travel, of the whole buffer
  TensorRole weights, gradients;  // of one unit, under ZeRO 2 and 3
};

ParameterKind parameter_kind(FlatBufferKind kind, const Strategy& strategy);

}  // namespace orrery::lowering
