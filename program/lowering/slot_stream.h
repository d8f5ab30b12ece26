// SPDX-License-Identifier: Apache-2.0
// What a slot of a schedule contains, as data: the ops of one virtual stage in order, before any of them is emitted.
// The stream of a slot is the same for all micro-batches, so it is made once. Two streams can run beside each other:
// zip() orders them so that the exchanges of one are covered by the arithmetic of the other.
#pragma once

#include "program/lowering/stage_program.h"

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

namespace orrery::lowering {

/// One op to emit; its micro-batch is filled in then.
struct StreamItem {
  const OpRule* rule = nullptr;
  ClassBuilder::Position at;
  const std::set<TensorRole>* kept = nullptr;  // not null: a recomputation (ClassBuilder::emit_again)
  bool inserted = false;                       // by a pass: it stands beside its layer, maybe among the ops of another
};

using Stream = std::vector<StreamItem>;

/// The stream of a slot, and the messages before and behind it.
struct SlotStream {
  std::optional<StreamItem> receive, send;
  Stream body;
  /// The message leaves when the whole slot is done, not when the tensor it carries is.
  bool send_waits_for_body = false;
};

/// The messages of one pipeline rank. Rules refer to each other by address, so it stays where it is.
class MessageRules {
 public:
  explicit MessageRules(const RuleContext& context);
  MessageRules(const MessageRules&) = delete;
  MessageRules& operator=(const MessageRules&) = delete;

  enum class Kind : std::uint8_t { send_act, recv_act, send_grad, recv_grad };
  /// The message from or to `peer`: of the residual stream, or behind the last layer also of what multi-token
  /// prediction has made of it. Requires: it is the next or the previous rank.
  const OpRule& of(Kind kind, Neighbour peer, bool with_mtp) const;

 private:
  std::vector<OpRule> rules_;  // by kind, neighbour, and whether with those of multi-token prediction
};

class ActivationOffload;
class ParameterUnits;

/// The streams of one virtual stage, by what a slot asks for.
class StageStreams {
 public:
  /// `context` and `messages` outlive it.
  StageStreams(const StageContext& context, const MessageRules& messages);
  StageStreams(StageStreams&&) noexcept;
  ~StageStreams();

  const SlotStream& of(Slot::Kind kind) const { return streams_[static_cast<std::size_t>(kind)]; }

 private:
  SlotStream forward() const;
  /// Both gradients: per layer from the last, each input gradient and then the weight gradient of the same matrix, as
  /// Megatron-LM orders them, so that inputs are free early; or, if the strategy delays weight gradients, those of a
  /// layer after all its input gradients.
  SlotStream backward() const;
  SlotStream input_grad() const;
  SlotStream gradients(bool both) const;
  SlotStream weight_grad() const;

  ClassBuilder::Position at_layer(std::int64_t layer) const;
  ClassBuilder::Position at_boundary(std::int64_t layer) const;
  ClassBuilder::Position at_embedding() const;
  ClassBuilder::Position at_head() const;
  /// Module i of multi-token prediction, and the head on its output.
  ClassBuilder::Position at_mtp(std::int64_t module) const;
  ClassBuilder::Position at_mtp_head(std::int64_t module) const;
  /// Modules whose layers are here, and modules whose outputs are here for the head.
  std::int64_t num_mtp() const { return c_->layout.num_mtp; }
  std::int64_t num_mtp_heads() const;
  /// A transformer layer forward; and backward with what it has to run again, both gradients or the first.
  void add_layer(std::int64_t layer, const ClassBuilder::Position& at, Stream& out) const;
  void add_layer_gradients(std::int64_t layer, const ClassBuilder::Position& at, bool both, Stream& out) const;
  /// What runs again in the backward of a layer.
  const RecomputeRules& recompute(std::int64_t layer) const;
  std::optional<StreamItem> message(MessageRules::Kind kind, const StageBoundary& boundary, std::int64_t layer) const;

  const StageContext* c_;
  const MessageRules* messages_;
  std::map<std::int64_t, RecomputeRules> recompute_;  // by layer of the stage, multi-token prediction included
  std::vector<SlotStream> streams_;                   // by Slot::Kind
  std::unique_ptr<ActivationOffload> offload_;
  std::unique_ptr<ParameterUnits> units_;
};

/// An item of one of two streams.
struct ZippedItem {
  const StreamItem* item = nullptr;
  bool second = false;
};

/// The order in which two streams share a rank: segments of both in turn, each up to an exchange with other ranks and
/// with it, so that the exchange of one stream runs beside the next segment of the other. What is left of the longer
/// stream follows.
std::vector<ZippedItem> zip(const Stream& first, const Stream& second);

}  // namespace orrery::lowering
