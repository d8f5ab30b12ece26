// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/slot_stream.h"

#include "base/check.h"
#include "program/lowering/activation_offload.h"
#include "program/lowering/parameter_units.h"

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

/// Each input gradient, and behind the last of its op the weight gradients that follow it. One that follows none comes
/// last. Collectives of the TP group are enqueued as early as they can be, so that they run beside these products: the
/// input that a weight gradient gathers again before the input gradient, the sum of an input gradient before the weight
/// gradient (Megatron-LM, LinearWithGradAccumulationAndAsyncCommunication).
void add_gradients(const BlockRules& block, const ClassBuilder::Position& at, Stream& out) {
  const auto add_followers = [&](OpCode op, bool early) {
    for (const OpRule& wgrad : block.wgrad) {
      if (wgrad.follows == op && wgrad.early == early) out.push_back({&wgrad, at});
    }
  };
  std::span<const OpRule> left = block.igrad;
  while (!left.empty()) {
    const OpCode op = left.front().op;
    // Slices of one product alternate with the sums of theirs.
    const auto end = std::find_if(left.begin(), left.end(),
                                  [op](const OpRule& rule) { return rule.op != op && rule.queue != Queue::tp; });
    add_followers(op, true);
    for (auto igrad = left.begin(); igrad != end; ++igrad) out.push_back({&*igrad, at});
    add_followers(op, false);
    left = {end, left.end()};
  }
  for (const OpRule& wgrad : block.wgrad) {
    if (!has_op(block.igrad, wgrad.follows)) out.push_back({&wgrad, at});
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
  const std::int64_t num_bytes = c.local_tokens * c.model.hidden * size_of(c.dtype);
  const std::int64_t num_mtp = num_mtp_modules(c.model, c.strategy.mtp);
  for (const Kind kind : {Kind::send_act, Kind::recv_act, Kind::send_grad, Kind::recv_grad}) {
    constexpr OpCode kOps[] = {OpCode::pp_send_act, OpCode::pp_recv_act, OpCode::pp_send_grad, OpCode::pp_recv_grad};
    const bool send = kind == Kind::send_act || kind == Kind::send_grad;
    const bool act = kind == Kind::send_act || kind == Kind::recv_act;
    const TensorRole role = act ? TensorRole::x : TensorRole::d_x;
    const auto use = [&](std::int64_t offset) {
      const int at = static_cast<int>(offset);
      return send ? read(role, at) : create(role, c.local_rows(), c.model.hidden, c.dtype, at);
    };
    for (const bool to_next : {true, false}) {
      for (const bool with_mtp : {false, true}) {
        std::vector<RoleUse> uses = {use(0)};
        for (std::int64_t i = 0; with_mtp && i < num_mtp; ++i) uses.push_back(use(mtp_position(0, i) + 1));
        const PeerShape shape{.bytes = num_bytes * static_cast<std::int64_t>(uses.size()),
                              .peer = to_next ? Group::pp_next : Group::pp_prev,
                              .send = send};
        rules_.push_back(c.with_shape(kOps[static_cast<std::size_t>(kind)], act ? Pass::fwd : Pass::igrad,
                                      queue_of(kind, to_next), shape, uses));
      }
    }
  }
}

const OpRule& MessageRules::of(Kind kind, Neighbour peer, bool with_mtp) const {
  CHECK(crosses_ranks(peer), static_cast<int>(peer));
  return rules_[4 * static_cast<std::size_t>(kind) + (peer == Neighbour::next_rank ? 0 : 2) + (with_mtp ? 1 : 0)];
}

StageStreams::StageStreams(const StageContext& context, const MessageRules& messages)
    : c_(&context), messages_(&messages) {
  const StageLayout& layout = c_->layout;
  const auto add_recompute = [&](std::int64_t layer, bool recomputes) {
    const std::set<RecomputeModule> none;
    recompute_[layer] = recompute_rules(recomputes ? layout.recompute : none, c_->rules.kind(layer),
                                        c_->rules.attention(layer), c_->rules.ffn(layer));
  };
  for (std::int64_t i = 0; i < layout.num_layers; ++i) {
    add_recompute(c_->first_layer() + i, i < layout.num_recompute_layers.value_or(layout.num_layers));
  }
  for (std::int64_t i = 0; i < num_mtp(); ++i) add_recompute(c_->num_layers() + i, !layout.num_recompute_layers);
  streams_ = {forward(), backward(), input_grad(), weight_grad()};
  if (c_->rules_context.strategy.offload_activations) {
    offload_ = std::make_unique<ActivationOffload>(c_->rules_context, streams_[0].body, streams_[1].body);
  }
  units_ = std::make_unique<ParameterUnits>(c_->rules_context, c_->mesh);
  for (std::size_t kind = 0; kind < streams_.size(); ++kind) {
    if (offload_) offload_->apply(static_cast<Slot::Kind>(kind), streams_[kind].body);
    units_->apply(static_cast<Slot::Kind>(kind), streams_[kind].body);
  }
}

StageStreams::StageStreams(StageStreams&&) noexcept = default;
StageStreams::~StageStreams() = default;

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

ClassBuilder::Position StageStreams::at_mtp(std::int64_t module) const {
  return {.stage = c_->stage,
          .layer = mtp_position(c_->num_layers(), module),
          .key_layer = static_cast<std::int16_t>(c_->num_layers() + module)};
}

ClassBuilder::Position StageStreams::at_mtp_head(std::int64_t module) const {
  ClassBuilder::Position at = at_mtp(module);
  ++at.layer;
  return at;
}

std::int64_t StageStreams::num_mtp_heads() const {
  return c_->layout.head ? num_mtp_modules(c_->rules_context.model, c_->rules_context.strategy.mtp) : 0;
}

const RecomputeRules& StageStreams::recompute(std::int64_t layer) const { return recompute_.at(layer); }

void StageStreams::add_layer(std::int64_t layer, const ClassBuilder::Position& at, Stream& out) const {
  add(c_->rules.attention(layer).fwd, at, out);
  add(c_->rules.ffn(layer).fwd, at, out);
}

void StageStreams::add_layer_gradients(std::int64_t layer, const ClassBuilder::Position& at, bool both,
                                       Stream& out) const {
  const bool delayed = both && c_->rules_context.strategy.overlap.delayed_wgrad;
  const bool together = both && !delayed;
  const RecomputeRules& again = recompute(layer);
  const BlockRules &attention = c_->rules.attention(layer), &ffn = c_->rules.ffn(layer);
  for (const OpRule* rule : again.before_ffn) out.push_back({rule, at, &again.kept});
  together ? add_gradients(ffn, at, out) : add(ffn.igrad, at, out);
  for (const OpRule* rule : again.before_attention) out.push_back({rule, at, &again.kept});
  together ? add_gradients(attention, at, out) : add(attention.igrad, at, out);
  if (!delayed) return;
  add(ffn.wgrad, at, out);
  add(attention.wgrad, at, out);
}

std::optional<StreamItem> StageStreams::message(MessageRules::Kind kind, const StageBoundary& boundary,
                                                std::int64_t layer) const {
  if (!crosses_ranks(boundary.neighbour)) return std::nullopt;
  return StreamItem{&messages_->of(kind, boundary.neighbour, boundary.with_mtp), at_boundary(layer)};
}

SlotStream StageStreams::forward() const {
  SlotStream out;
  out.receive = message(MessageRules::Kind::recv_act, c_->before, c_->first_layer());
  if (c_->layout.embedding) add(c_->rules.embedding().fwd, at_embedding(), out.body);
  for (std::int64_t layer = c_->first_layer(); layer < c_->end_layer(); ++layer) {
    add_layer(layer, at_layer(layer), out.body);
  }
  for (std::int64_t i = 0; i < num_mtp(); ++i) {
    add(c_->rules.mtp(false).fwd, at_mtp(i), out.body);
    add_layer(c_->num_layers() + i, at_mtp(i), out.body);
  }
  if (c_->layout.head) add(c_->rules.head(false).fwd, at_head(), out.body);
  for (std::int64_t i = 0; i < num_mtp_heads(); ++i) add(c_->rules.head(false).fwd, at_mtp_head(i), out.body);
  out.send = message(MessageRules::Kind::send_act, c_->behind, c_->end_layer());
  return out;
}

SlotStream StageStreams::gradients(bool both) const {
  SlotStream out;
  out.receive = message(MessageRules::Kind::recv_grad, c_->behind, c_->end_layer());
  const auto add_block = [&](const BlockRules& block, const ClassBuilder::Position& at) {
    both ? add_gradients(block, at, out.body) : add(block.igrad, at, out.body);
  };
  // The gradient of hidden states that a module and a head share is made by the module, if it is here, and the head,
  // whose turn is later, adds to it; if only the head is here, it makes it, and the module adds.
  for (std::int64_t i = num_mtp_heads() - 1; i >= num_mtp(); --i) {
    add_block(c_->rules.head(false), at_mtp_head(i));
  }
  for (std::int64_t i = num_mtp() - 1; i >= 0; --i) {
    if (c_->layout.head) add_block(c_->rules.head(i + 1 < num_mtp()), at_mtp_head(i));
    add_layer_gradients(c_->num_layers() + i, at_mtp(i), both, out.body);
    add_block(c_->rules.mtp(!c_->layout.head), at_mtp(i));
  }
  if (c_->layout.head) add_block(c_->rules.head(num_mtp() > 0), at_head());
  for (std::int64_t layer = c_->end_layer() - 1; layer >= c_->first_layer(); --layer) {
    add_layer_gradients(layer, at_layer(layer), both, out.body);
  }
  out.send = message(MessageRules::Kind::send_grad, c_->before, c_->first_layer());
  return out;
}

SlotStream StageStreams::backward() const {
  SlotStream out = gradients(true);
  if (c_->layout.embedding) add(c_->rules.embedding().wgrad, at_embedding(), out.body);
  out.send_waits_for_body = true;
  return out;
}

SlotStream StageStreams::input_grad() const { return gradients(false); }

SlotStream StageStreams::weight_grad() const {
  SlotStream out;
  for (std::int64_t i = num_mtp_heads() - 1; i >= 0; --i) add(c_->rules.head(false).wgrad, at_mtp_head(i), out.body);
  const auto add_layer_weights = [&](std::int64_t layer, const ClassBuilder::Position& at) {
    add(c_->rules.ffn(layer).wgrad, at, out.body);
    add(c_->rules.attention(layer).wgrad, at, out.body);
  };
  for (std::int64_t i = num_mtp() - 1; i >= 0; --i) {
    add_layer_weights(c_->num_layers() + i, at_mtp(i));
    add(c_->rules.mtp(false).wgrad, at_mtp(i), out.body);
  }
  if (c_->layout.head) add(c_->rules.head(false).wgrad, at_head(), out.body);
  for (std::int64_t layer = c_->end_layer() - 1; layer >= c_->first_layer(); --layer) {
    add_layer_weights(layer, at_layer(layer));
  }
  if (c_->layout.embedding) add(c_->rules.embedding().wgrad, at_embedding(), out.body);
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
