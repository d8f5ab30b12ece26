// SPDX-License-Identifier: Apache-2.0
// The ops of one layer and of the ends of a model on one rank, with their shapes, derived from the architecture a
// second time: the closed form must not share the lowering's mistakes. No order, no tensors, no dependencies: only what
// is done and how large it is. Collectives of tensor, context and expert parallelism are among them.
#pragma once

#include "program/model.h"
#include "program/op.h"
#include "program/op_key.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>
#include <set>
#include <vector>

namespace orrery::costmodel {

struct LayerOp {
  OpCode op = OpCode::embed_lookup;
  Pass pass = Pass::fwd;
  OpShape shape;
};

/// Forward, input gradients and weight gradients of one micro-batch, and what `recompute` runs again (Pass::rec).
/// Layers with the same Model::kind and Model::span have the same ops.
std::vector<LayerOp> layer_ops(const Model& model, const Strategy& strategy, const BatchShape& batch,
                               std::int64_t layer, const std::set<RecomputeModule>& recompute);
std::vector<LayerOp> embedding_ops(const Model& model, const Strategy& strategy, const BatchShape& batch);

/// `adds`: another head or a prediction module has left a gradient of the same hidden states.
std::vector<LayerOp> head_ops(const Model& model, const Strategy& strategy, const BatchShape& batch, bool adds = false);

/// What a prediction module has before its layer.
std::vector<LayerOp> mtp_ops(const Model& model, const Strategy& strategy, const BatchShape& batch, bool adds);

}  // namespace orrery::costmodel
