// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/slot_stream.h"

#include "base/check.h"

#include <algorithm>

namespace orrery::lowering {
namespace {

/// Queues whose ops keep the arithmetic behind them waiting, and so end a segment of zip().
bool ends_segment(Queue queue) { return queue == Queue::ep; }

void add(const std::vector<OpRule>& rules, const ClassBuilder::Position& at, Stream& out) {
  for (const OpRule& rule : rules) out.push_back({&rule, at});
}

bool has_op(const std::vector<OpRule>& rules, OpCode op) {
  return std::any_of(rules.begin(), rules.end(), [op](const OpRule& rule) { return rule.op == op; });
}

/// Each input gradient, and behind it the weight gradient of the same op. One without a partner comes last.
void add_gradients(const BlockRules& block, const ClassBuilder::Position& at, Stream& out) {
  for (const OpRule& igrad : block.igrad) {
    out.push_back({&igrad, at});
    for (const OpRule& wgrad : block.wgrad) {
      if (wgrad.op == igrad.op) out.push_back({&wgrad, at});
    }
  }
  for (const OpRule& wgrad : block.wgrad) {
    if (!has_op(block.igrad, wgrad.op)) out.push_back({&wgrad, at});
  }
}

bool crosses_ranks(Neighbour neighbour) {
  return neighbour == Neighbour::next_rank || neighbour == Neighbour::previous_rank;
}

/// The queue of a message; activations that go on and gradients that come back have the plain ones (program/op.h).
Queue queue_of(MessageRules::Kind kind, bool to_next) {
  switch (kind) {
    case MessageRules::Kind::send_act:
      return to_next ? Queue::pp_send_next : Queue::pp_send_prev_act;
    case MessageRules::Kind::recv_act:
      return to_next ? Queue::pp_recv_next_act : Queue::pp_recv_prev;
    case MessageRules::Kind::send_grad:
      return to_next ? Queue::pp_send_next_grad : Queue::pp_send_prev;
    case MessageRules::Kind::recv_grad:
      return to_next ? Queue::pp_recv_next : Queue::pp_recv_prev_grad;
  }
  CHECK(false, static_cast<int>(kind));
}

/// Index behind the segment that begins at `begin`.
std::size_t segment_end(const Stream& stream, std::size_t begin) {
  while (begin < stream.size() && !ends_segment(stream[begin].rule->queue)) ++begin;
  return std::min(begin + 1, stream.size());
}

}  // namespace

MessageRules::MessageRules(const RuleContext& c) {
  const std::int64_t num_bytes = c.tokens * c.model.hidden * size_of(c.dtype);
  for (const Kind kind : {Kind::send_act, Kind::recv_act, Kind::send_grad, Kind::recv_grad}) {
    constexpr OpCode kOps[] = {OpCode::pp_send_act, OpCode::pp_recv_act, OpCode::pp_send_grad, OpCode::pp_recv_grad};
    const bool send = kind == Kind::send_act || kind == Kind::send_grad;
    const bool act = kind == Kind::send_act || kind == Kind::recv_act;
    const TensorRole role = act ? TensorRole::x : TensorRole::d_x;
    const RoleUse use = send ? read(role) : create(role, c.token_rows(), c.model.hidden, c.dtype);
    for (const bool to_next : {true, false}) {
      const PeerShape shape{.bytes = num_bytes, .peer = to_next ? Group::pp_next : Group::pp_prev, .send = send};
      rules_.push_back(c.with_shape(kOps[static_cast<std::size_t>(kind)], act ? Pass::fwd : Pass::igrad,
                                    queue_of(kind, to_next), shape, {use}));
    }
  }
}

const OpRule& MessageRules::of(Kind kind, Neighbour peer) const {
  CHECK(crosses_ranks(peer), static_cast<int>(peer));
  return rules_[2 * static_cast<std::size_t>(kind) + (peer == Neighbour::next_rank ? 0 : 1)];
}

StageStreams::StageStreams(const StageContext& context, const MessageRules& messages)
    : c_(&context), messages_(&messages) {
  for (std::int64_t layer = c_->first_layer(); layer < c_->end_layer(); ++layer) {
    recompute_.push_back(recompute_rules(*c_, c_->rules_context.model.kind(layer), layer));
  }
  streams_ = {forward(), backward(), input_grad(), weight_grad()};
}

ClassBuilder::Position StageStreams::at_layer(std::int64_t layer) const {
  return {.stage = c_->stage, .layer = layer, .key_layer = static_cast<std::int16_t>(layer)};
}

ClassBuilder::Position StageStreams::at_boundary(std::int64_t layer) const {
  return {.stage = c_->stage, .layer = layer, .key_layer = OpKey::kNoLayer};
}

ClassBuilder::Position StageStreams::at_embedding() const {
  return {.stage = c_->stage, .layer = c_->first_layer(), .key_layer = OpKey::kEmbed};
}

ClassBuilder::Position StageStreams::at_head() const {
  return {.stage = c_->stage, .layer = c_->end_layer(), .key_layer = OpKey::kHead};
}

void StageStreams::add_again(const std::vector<const OpRule*> RecomputeRules::* half, std::int64_t layer,
                             Stream& out) const {
  const RecomputeRules& again = recompute_[static_cast<std::size_t>(layer - c_->first_layer())];
  for (const OpRule* rule : again.*half) out.push_back({rule, at_layer(layer), &again.kept});
}

const BlockRules& StageStreams::ffn(std::int64_t layer) const {
  return c_->rules.ffn(c_->rules_context.model.kind(layer));
}

std::optional<StreamItem> StageStreams::message(MessageRules::Kind kind, Neighbour peer, std::int64_t layer) const {
  if (!crosses_ranks(peer)) return std::nullopt;
  return StreamItem{&messages_->of(kind, peer), at_boundary(layer)};
}

SlotStream StageStreams::forward() const {
  SlotStream out;
  out.receive = message(MessageRules::Kind::recv_act, c_->neighbours.before, c_->first_layer());
  if (c_->layout.embedding) add(c_->rules.embedding.fwd, at_embedding(), out.body);
  for (std::int64_t layer = c_->first_layer(); layer < c_->end_layer(); ++layer) {
    add(c_->rules.attention.fwd, at_layer(layer), out.body);
    add(ffn(layer).fwd, at_layer(layer), out.body);
  }
  if (c_->layout.head) add(c_->rules.head.fwd, at_head(), out.body);
  out.send = message(MessageRules::Kind::send_act, c_->neighbours.behind, c_->end_layer());
  return out;
}

SlotStream StageStreams::backward() const {
  const bool delayed = c_->rules_context.strategy.overlap.delayed_wgrad;
  SlotStream out;
  out.receive = message(MessageRules::Kind::recv_grad, c_->neighbours.behind, c_->end_layer());
  if (c_->layout.head) add_gradients(c_->rules.head, at_head(), out.body);
  for (std::int64_t layer = c_->end_layer() - 1; layer >= c_->first_layer(); --layer) {
    const ClassBuilder::Position at = at_layer(layer);
    const BlockRules &attention = c_->rules.attention, &mlp = ffn(layer);
    add_again(&RecomputeRules::before_ffn, layer, out.body);
    delayed ? add(mlp.igrad, at, out.body) : add_gradients(mlp, at, out.body);
    add_again(&RecomputeRules::before_attention, layer, out.body);
    delayed ? add(attention.igrad, at, out.body) : add_gradients(attention, at, out.body);
    if (!delayed) continue;
    add(mlp.wgrad, at, out.body);
    add(attention.wgrad, at, out.body);
  }
  if (c_->layout.embedding) add(c_->rules.embedding.wgrad, at_embedding(), out.body);
  out.send = message(MessageRules::Kind::send_grad, c_->neighbours.before, c_->first_layer());
  out.send_waits_for_body = true;
  return out;
}

SlotStream StageStreams::input_grad() const {
  SlotStream out;
  out.receive = message(MessageRules::Kind::recv_grad, c_->neighbours.behind, c_->end_layer());
  if (c_->layout.head) add(c_->rules.head.igrad, at_head(), out.body);
  for (std::int64_t layer = c_->end_layer() - 1; layer >= c_->first_layer(); --layer) {
    add_again(&RecomputeRules::before_ffn, layer, out.body);
    add(ffn(layer).igrad, at_layer(layer), out.body);
    add_again(&RecomputeRules::before_attention, layer, out.body);
    add(c_->rules.attention.igrad, at_layer(layer), out.body);
  }
  out.send = message(MessageRules::Kind::send_grad, c_->neighbours.before, c_->first_layer());
  return out;
}

SlotStream StageStreams::weight_grad() const {
  SlotStream out;
  if (c_->layout.head) add(c_->rules.head.wgrad, at_head(), out.body);
  for (std::int64_t layer = c_->end_layer() - 1; layer >= c_->first_layer(); --layer) {
    add(ffn(layer).wgrad, at_layer(layer), out.body);
    add(c_->rules.attention.wgrad, at_layer(layer), out.body);
  }
  if (c_->layout.embedding) add(c_->rules.embedding.wgrad, at_embedding(), out.body);
  return out;
}

std::vector<ZippedItem> zip(const Stream& first, const Stream& second) {
  std::vector<ZippedItem> out;
  out.reserve(first.size() + second.size());
  std::size_t i = 0, j = 0;
  while (i < first.size() || j < second.size()) {
    for (const std::size_t end = segment_end(first, i); i < end; ++i) out.push_back({&first[i], false});
    for (const std::size_t end = segment_end(second, j); j < end; ++j) out.push_back({&second[j], true});
  }
  return out;
}

}  // namespace orrery::lowering
