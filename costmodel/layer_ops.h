// SPDX-License-Identifier: Apache-2.0
// The ops of one layer and of the ends of a model, with their shapes, derived from the architecture a second time:
// the closed form must not share the lowering's mistakes. No order, no tensors, no dependencies: only what is done and
// how large it is.
#pragma once

#include "program/model.h"
#include "program/op.h"
#include "program/op_key.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <set>
#include <vector>

namespace orrery::costmodel {

struct LayerOp {
  OpCode op = OpCode::embed_lookup;
  Pass pass = Pass::fwd;
  OpShape shape;
};

/// Forward, input gradients and weight gradients of one micro-batch, and what `recompute` runs again (Pass::rec).
std::vector<LayerOp> layer_ops(const Model& model, const Strategy& strategy, const BatchShape& batch, LayerKind kind,
                               const std::set<RecomputeModule>& recompute);
std::vector<LayerOp> embedding_ops(const Model& model, const Strategy& strategy, const BatchShape& batch);
std::vector<LayerOp> head_ops(const Model& model, const Strategy& strategy, const BatchShape& batch);

}  // namespace orrery::costmodel
