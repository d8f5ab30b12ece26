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

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

namespace orrery::costmodel {

/// What is recomputed as one, or never.
enum class OpPart : std::uint8_t { attn_norm, attn_up, attn_core, attn, ffn_norm, moe_act, shared, ffn, kept };
inline constexpr std::size_t kNumOpParts = static_cast<std::size_t>(OpPart::kept) + 1;

struct LayerOp {
  OpCode op = OpCode::embed_lookup;
  Pass pass = Pass::fwd;
  OpShape shape;
  OpPart part = OpPart::kept;
  std::int64_t count = 1;  // of the same, as slices and the rounds of a ring are
};

/// Forward, input gradients and weight gradients of one micro-batch in the two halves of a layer.
std::vector<LayerOp> attention_ops(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                   const AttentionSpan& span);
std::vector<LayerOp> feed_forward_ops(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                      LayerKind kind);

/// Whether layers of `kind` that recompute `modules` run the forward of `part` again (Pass::rec).
bool runs_again(const std::set<RecomputeModule>& modules, OpPart part, LayerKind kind);

std::vector<LayerOp> embedding_ops(const Model& model, const Strategy& strategy, const BatchShape& batch);

/// `adds`: another head or a prediction module has left a gradient of the same hidden states.
std::vector<LayerOp> head_ops(const Model& model, const Strategy& strategy, const BatchShape& batch, bool adds = false);

/// What a prediction module has before its layer.
std::vector<LayerOp> mtp_ops(const Model& model, const Strategy& strategy, const BatchShape& batch, bool adds);

}  // namespace orrery::costmodel
