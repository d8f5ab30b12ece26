// SPDX-License-Identifier: Apache-2.0
#include "program/flat_buffer.h"
#include "program/lowering/stage_program.h"

namespace orrery::lowering {
namespace {

/// Bytes of the all-reduce that ends the gradient norm: a 128-bit sum of squares, its overflow flag, and the loss.
constexpr std::int64_t kNormBytes = 32;

class StepEndEmitter {
 public:
  StepEndEmitter(const ClassContext& context, ClassBuilder& builder)
      : c_(context),
        rules_(context.rules_context),
        s_(context.rules_context.strategy),
        builder_(builder),
        dense_(flat_buffer(rules_.model, c_.layouts(), s_, c_.mesh, FlatBufferKind::dense)),
        expert_(flat_buffer(rules_.model, c_.layouts(), s_, c_.mesh, FlatBufferKind::expert)) {}

  void emit() {
    const OpIndex backward_end = builder_.next() - 1;
    const OpIndex dense_grads = reduce_gradients(dense_, Queue::dp, Group::dp, OpCode::dp_grad_rs, OpCode::dp_grad_ar,
                                                 s_.zero_dense, backward_end);
    const OpIndex expert_grads = reduce_gradients(expert_, Queue::edp, Group::edp, OpCode::edp_grad_rs,
                                                  OpCode::edp_grad_ar, s_.zero_expert, backward_end);
    const OpIndex bias_counts = reduce_bias_counts(backward_end);

    // Every gradient is squared once: each rank takes its shard, whether or not it also holds the rest.
    const OpIndex squares = add(OpCode::norm_local, Pass::sync, Queue::compute,
                                MemoryShape{.rows = {Rows::Kind::fixed, dense_.shard() + expert_.shard()},
                                            .read_per_row = size_of(s_.grad_dtype),
                                            .flops_per_row = 2},
                                {dense_grads, expert_grads});
    const OpIndex norm =
        add(OpCode::norm_reduce, Pass::sync, Queue::world,
            CollectiveShape{.kind = CollectiveKind::all_reduce, .group = Group::world, .bytes = kNormBytes}, {squares});

    const OpIndex dense_update = optimize(dense_, OpCode::adamw_dense, s_.zero_dense, norm);
    gather_parameters(dense_, Queue::dp, Group::dp, OpCode::dp_param_ag, s_.zero_dense, dense_update);
    if (expert_.padded == 0) return;
    const OpIndex expert_update = optimize(expert_, OpCode::adamw_expert, s_.zero_expert, norm);
    gather_parameters(expert_, Queue::edp, Group::edp, OpCode::edp_param_ag, s_.zero_expert, expert_update);
    if (!rules_.model.moe->aux_free_bias) return;
    add(OpCode::moe_bias, Pass::update, Queue::compute,
        MemoryShape{.rows = {Rows::Kind::fixed, num_bias_values()}, .read_per_row = 12, .written_per_row = 4},
        {bias_counts});
  }

 private:
  OpIndex add(OpCode op, Pass pass, Queue queue, const OpShape& shape, std::initializer_list<OpIndex> after) {
    return builder_.emit(rules_.with_shape(op, pass, queue, shape, {}), {.stage = c_.stages.front().stage},
                         std::vector<OpIndex>(after));
  }

  OpIndex collective(OpCode op, Pass pass, Queue queue, Group group, CollectiveKind kind, std::int64_t bytes,
                     OpIndex after) {
    return add(op, pass, queue, CollectiveShape{.kind = kind, .group = group, .bytes = bytes}, {after});
  }

  /// Returns the op after which the gradients of this rank's shard are complete.
  OpIndex reduce_gradients(const FlatBuffer& buffer, Queue queue, Group group, OpCode scatter, OpCode all_reduce,
                           int zero, OpIndex after) {
    if (buffer.ranks == 1 || buffer.padded == 0) return after;
    const std::int64_t bytes = buffer.padded * size_of(s_.grad_wire_dtype);
    return zero >= 1 ? collective(scatter, Pass::sync, queue, group, CollectiveKind::reduce_scatter, bytes, after)
                     : collective(all_reduce, Pass::sync, queue, group, CollectiveKind::all_reduce, bytes, after);
  }

  std::int64_t num_bias_values() const {
    std::int64_t layers = 0;
    for (const StageContext& stage : c_.stages) {
      for (std::int64_t layer = stage.first_layer(); layer < stage.end_layer(); ++layer) {
        if (rules_.model.kind(layer) == LayerKind::moe) ++layers;
      }
    }
    return layers * rules_.model.moe->num_experts;
  }

  /// Tokens per expert over all ranks of the stage, as 64-bit counts.
  OpIndex reduce_bias_counts(OpIndex after) {
    const bool has_bias = rules_.model.moe && rules_.model.moe->aux_free_bias && expert_.padded > 0;
    if (!has_bias || c_.mesh.size(Group::dp) == 1) return after;
    return collective(OpCode::moe_bias_counts, Pass::sync, Queue::dp, Group::dp, CollectiveKind::all_reduce,
                      num_bias_values() * size_of(DType::i64), after);
  }

  /// AdamW reads gradient, two moments and the master (or, without one, the weight), and writes all but the gradient.
  OpIndex optimize(const FlatBuffer& buffer, OpCode op, int zero, OpIndex after) {
    const std::int64_t moments = 2 * size_of(s_.moment_dtype), master = size_of(s_.master_dtype);
    const std::int64_t weight_copy = has_master(s_) ? size_of(s_.precision) : 0;
    const MemoryShape shape{.rows = {Rows::Kind::fixed, zero >= 1 ? buffer.shard() : buffer.padded},
                            .read_per_row = size_of(s_.grad_dtype) + moments + master,
                            .written_per_row = moments + master + weight_copy,
                            .flops_per_row = 15};
    return add(op, Pass::update, Queue::compute, shape, {after});
  }

  void gather_parameters(const FlatBuffer& buffer, Queue queue, Group group, OpCode op, int zero, OpIndex after) {
    if (zero == 0 || buffer.ranks == 1 || buffer.padded == 0) return;
    collective(op, Pass::update, queue, group, CollectiveKind::all_gather, buffer.padded * size_of(s_.precision),
               after);
  }

  const ClassContext& c_;
  const RuleContext& rules_;
  const Strategy& s_;
  ClassBuilder& builder_;
  const FlatBuffer dense_, expert_;
};

}  // namespace

void emit_step_end(const ClassContext& context, ClassBuilder& builder) { StepEndEmitter(context, builder).emit(); }

}  // namespace orrery::lowering
