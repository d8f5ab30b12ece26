// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "program/lowering/stage_program.h"

namespace orrery::lowering {
namespace {

/// Emits the slots of one pipeline rank, one after the other.
class SlotEmitter {
 public:
  SlotEmitter(const StageContext& context, ClassBuilder& builder) : c_(context), builder_(builder) {
    const RuleContext& rules = c_.rules_context;
    message_bytes_ = rules.tokens * rules.model.hidden * size_of(rules.dtype);
    for (std::int64_t layer = first_layer(); layer < end_layer(); ++layer) {
      recompute_.push_back(recompute_rules(c_, rules.model.kind(layer), layer));
    }
  }

  void emit(const Slot& slot) {
    switch (slot.kind) {
      case Slot::Kind::forward:
        forward(slot.micro_batch);
        break;
      case Slot::Kind::backward:
        backward(slot.micro_batch);
        break;
      case Slot::Kind::input_grad:
      case Slot::Kind::weight_grad:
        CHECK(false, "split backward slots are not lowered");
    }
    end_before_last_ = end_of_last_;
    end_of_last_ = last_compute_;
  }

 private:
  std::int64_t first_layer() const { return c_.layout.first_layer; }
  std::int64_t end_layer() const { return c_.layout.first_layer + c_.layout.num_layers; }
  LayerKind kind(std::int64_t layer) const { return c_.rules_context.model.kind(layer); }

  ClassBuilder::Position at_layer(std::int64_t layer, std::int64_t micro_batch) const {
    return {c_.stage, layer, micro_batch, static_cast<std::int16_t>(layer)};
  }
  ClassBuilder::Position at_end(std::int16_t key_layer, std::int64_t micro_batch) const {
    return {c_.stage, key_layer == OpKey::kEmbed ? first_layer() : end_layer(), micro_batch, key_layer};
  }

  void emit_all(const std::vector<OpRule>& rules, const ClassBuilder::Position& at) {
    for (const OpRule& rule : rules) remember(builder_.emit(rule, at), rule.queue);
  }
  void emit_again(const std::vector<const OpRule*>& rules, const std::set<TensorRole>& kept,
                  const ClassBuilder::Position& at) {
    for (const OpRule* rule : rules) remember(builder_.emit_again(*rule, at, kept), rule->queue);
  }
  void remember(OpIndex op, Queue queue) {
    if (queue == Queue::compute) last_compute_ = op;
  }

  /// A message that creates or uses the tensor of `role` at the boundary `layer`.
  OpRule message(OpCode op, Pass pass, Queue queue, Group peer, TensorRole role) const {
    const bool send = op == OpCode::pp_send_act || op == OpCode::pp_send_grad;
    const RuleContext& rules = c_.rules_context;
    const RoleUse use = send ? read(role) : create(role, rules.token_rows(), rules.model.hidden, rules.dtype);
    return rules.with_shape(op, pass, queue, PeerShape{.bytes = message_bytes_, .peer = peer, .send = send}, {use});
  }
  ClassBuilder::Position at_boundary(std::int64_t layer, std::int64_t micro_batch) const {
    return {c_.stage, layer, micro_batch, OpKey::kNoLayer};
  }
  /// A receive is posted while the slot before its own runs, so at most one message waits in memory.
  void receive(const OpRule& rule, const ClassBuilder::Position& at) {
    if (end_before_last_) {
      builder_.emit(rule, at, {*end_before_last_});
    } else {
      builder_.emit(rule, at);
    }
  }

  void forward(std::int64_t micro_batch) {
    if (c_.layout.embedding) {
      emit_all(c_.rules.embedding.fwd, at_end(OpKey::kEmbed, micro_batch));
    } else {
      receive(message(OpCode::pp_recv_act, Pass::fwd, Queue::pp_recv_prev, Group::pp_prev, TensorRole::x),
              at_boundary(first_layer(), micro_batch));
    }
    for (std::int64_t layer = first_layer(); layer < end_layer(); ++layer) {
      emit_all(c_.rules.attention.fwd, at_layer(layer, micro_batch));
      emit_all(c_.rules.ffn(kind(layer)).fwd, at_layer(layer, micro_batch));
    }
    if (c_.layout.head) {
      emit_all(c_.rules.head.fwd, at_end(OpKey::kHead, micro_batch));
    } else {
      builder_.emit(message(OpCode::pp_send_act, Pass::fwd, Queue::pp_send_next, Group::pp_next, TensorRole::x),
                    at_boundary(end_layer(), micro_batch));
    }
  }

  /// Per layer from the last: input gradients, then weight gradients.
  void backward(std::int64_t micro_batch) {
    if (c_.layout.head) {
      emit_all(c_.rules.head.igrad, at_end(OpKey::kHead, micro_batch));
      emit_all(c_.rules.head.wgrad, at_end(OpKey::kHead, micro_batch));
    } else {
      receive(message(OpCode::pp_recv_grad, Pass::igrad, Queue::pp_recv_next, Group::pp_next, TensorRole::d_x),
              at_boundary(end_layer(), micro_batch));
    }
    for (std::int64_t layer = end_layer() - 1; layer >= first_layer(); --layer) {
      const ClassBuilder::Position at = at_layer(layer, micro_batch);
      const RecomputeRules& again = recompute_[static_cast<std::size_t>(layer - first_layer())];
      const BlockRules &ffn = c_.rules.ffn(kind(layer)), &attention = c_.rules.attention;
      emit_again(again.before_ffn, again.kept, at);
      emit_all(ffn.igrad, at);
      emit_again(again.before_attention, again.kept, at);
      emit_all(attention.igrad, at);
      emit_all(ffn.wgrad, at);
      emit_all(attention.wgrad, at);
    }
    if (c_.layout.embedding) {
      emit_all(c_.rules.embedding.wgrad, at_end(OpKey::kEmbed, micro_batch));
    } else {
      // The gradient leaves when the whole backward of the stage is done; only schedules with split backward send it
      // before the weight gradients.
      builder_.emit(message(OpCode::pp_send_grad, Pass::igrad, Queue::pp_send_prev, Group::pp_prev, TensorRole::d_x),
                    at_boundary(first_layer(), micro_batch), {*last_compute_});
    }
  }

  const StageContext& c_;
  ClassBuilder& builder_;
  std::int64_t message_bytes_ = 0;
  std::vector<RecomputeRules> recompute_;  // by layer of the stage
  std::optional<OpIndex> last_compute_, end_of_last_, end_before_last_;
};

}  // namespace

void emit_slots(const StageContext& context, ClassBuilder& builder) {
  SlotEmitter emitter(context, builder);
  const PipelineShape shape{.num_ranks = context.mesh.pp(), .num_micro_batches = context.num_micro_batches};
  for (const Slot& slot : slots_of(context.rules_context.strategy.schedule, shape, context.stage)) emitter.emit(slot);
}

}  // namespace orrery::lowering
