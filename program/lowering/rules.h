// SPDX-License-Identifier: Apache-2.0
// The vocabulary of lowering: what one op does, written once per layer kind and repeated for every layer and
// micro-batch. A rule names the tensors that an op reads, creates and modifies by role; dependencies, releases and
// the bytes of memory-bound ops follow from these uses. The rules of all layers are the table in docs/design/ops.md.
#pragma once

#include "program/model.h"
#include "program/step_program.h"

#include <cstdint>
#include <map>
#include <vector>

namespace orrery::lowering {

/// Use of the tensor of a role in the layer at hand; `layer_offset` 1 means the tensor at the layer's output.
struct RoleUse {
  TensorRole role = TensorRole::x;
  Access access = Access::read;
  int layer_offset = 0;
  // Of created tensors:
  Rows rows;
  std::int64_t width = 0;
  DType dtype = DType::bf16;
};

RoleUse read(TensorRole role, int layer_offset = 0);
RoleUse modify(TensorRole role, int layer_offset = 0);
RoleUse create(TensorRole role, Rows rows, std::int64_t width, DType dtype, int layer_offset = 0);

struct OpRule {
  OpCode op = OpCode::embed_lookup;
  Pass pass = Pass::fwd;
  Queue queue = Queue::compute;
  ShapeId shape = 0;
  std::vector<RoleUse> uses;
  std::int16_t bucket = -1;  // of the key: slice or round, -1: the op is whole
  /// Of weight gradients: the input gradient behind which it can run, if it is not delayed.
  OpCode follows = OpCode::embed_lookup;
  bool early = false;  // of weight gradients: it may be enqueued before that input gradient
  bool eager = false;  // of communication: it waits for its data alone, and not for arithmetic enqueued before it
};

/// Rules of one half of a layer (attention or FFN) or of one end of the model, in order of execution.
struct BlockRules {
  std::vector<OpRule> fwd, igrad, wgrad;
};

/// The shapes of a program, each stored once.
class ShapeTable {
 public:
  ShapeId id_of(const OpShape& shape);
  std::vector<OpShape> take() && { return std::move(shapes_); }

 private:
  std::vector<OpShape> shapes_;
  std::map<OpShape, ShapeId> ids_;
};

/// What the rules of all blocks depend on, and how they add their ops.
class RuleContext {
 public:
  RuleContext(const Model& model, const Strategy& strategy, const BatchShape& batch, ShapeTable& shapes);

  const Model& model;
  const Strategy& strategy;
  const std::int64_t seq;
  const std::int64_t tp;
  const std::int64_t tokens;        // of one micro-batch on one rank, within attention and FFN: [T] = b s / c
  const std::int64_t local_tokens;  // of the residual stream: T / t with sequence parallelism
  const DType dtype;                // of weights, the residual stream and messages
  const DType operand;              // of what linear layers multiply: fp8, or the same
  ShapeTable& shapes;

  bool sequence_parallel() const { return local_tokens != tokens; }
  Rows token_rows() const { return {Rows::Kind::fixed, tokens}; }
  Rows local_rows() const { return {Rows::Kind::fixed, local_tokens}; }

  /// A tensor that a linear layer multiplies: with fp8, `width` elements and their scales.
  RoleUse create_operand(TensorRole role, Rows rows, std::int64_t width, int layer_offset = 0) const;
  std::int64_t operand_row(std::int64_t width) const;  // its bytes per row
  /// What an activation function takes of `out` [rows, width]: `out`, or if the strategy keeps that in fp8, `kept`,
  /// which `quant` then makes behind `forward`.
  TensorRole activation_input(TensorRole out, TensorRole kept, OpCode quant, Rows rows, std::int64_t width,
                              std::vector<OpRule>& forward) const;

  /// y[m, n] = x w^T with w of shape (n, k), of a linear layer; or of the given type.
  OpRule gemm(OpCode op, Pass pass, std::int64_t m, std::int64_t n, std::int64_t k,
              const std::vector<RoleUse>& uses) const;
  OpRule gemm(OpCode op, Pass pass, std::int64_t m, std::int64_t n, std::int64_t k, DType type,
              const std::vector<RoleUse>& uses) const;
  /// A memory-bound op over the rows of what it creates (else modifies): reads and writes what it uses, once.
  /// `clamped`: MemoryShape::clamped_per_row.
  OpRule memory(OpCode op, Pass pass, std::int64_t flops_per_row, const std::vector<RoleUse>& uses,
                std::int64_t clamped = 0) const;
  /// A memory-bound op whose traffic does not follow from its uses (gathers and scatters).
  OpRule memory(OpCode op, Pass pass, const MemoryShape& shape, const std::vector<RoleUse>& uses) const;
  OpRule with_shape(OpCode op, Pass pass, Queue queue, const OpShape& shape, const std::vector<RoleUse>& uses) const;

  /// Rows and bytes per row of a role as last created, so that a reader's traffic is known.
  struct Created {
    Rows rows;
    std::int64_t row_bytes = 0;
  };
  const Created& created(TensorRole role) const;

 private:
  OpRule remember(OpRule rule) const;
  mutable std::map<TensorRole, Created> created_;
};

/// Attention from `x` to `x_mid`: grouped-query or latent, as the model says.
BlockRules gqa_rules(const RuleContext& context, const GroupedQueryAttention& attention, std::int64_t layer);
BlockRules mla_rules(const RuleContext& context, const MultiHeadLatentAttention& attention, std::int64_t layer);
BlockRules attention_rules(const RuleContext& context, std::int64_t layer);

/// FFN from `x_mid` to the layer's output `x` (offset 1).
BlockRules dense_ffn_rules(const RuleContext& context);
BlockRules moe_ffn_rules(const RuleContext& context);

/// Token ids to `x`; and `x` to the loss. Where multi-token prediction has already left a gradient of `x`, the head
/// adds to it.
BlockRules embedding_rules(const RuleContext& context);
BlockRules head_rules(const RuleContext& context, bool adds_to_d_x);

/// A multi-token-prediction module before its transformer layer (DeepSeek-V3, section 2.2): the hidden states at offset
/// -1 and the embedding of the next tokens, each with a norm of its own, become its `x`. Where the loss of those hidden
/// states is computed on another stage, their gradient has arrived, and the module adds to it.
BlockRules mtp_rules(const RuleContext& context, bool adds_to_d_x);

}  // namespace orrery::lowering
