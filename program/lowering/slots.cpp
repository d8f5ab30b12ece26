// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "program/lowering/slot_stream.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace orrery::lowering {
namespace {

/// Emits the slots of one pipeline rank, one after the other.
class SlotEmitter {
 public:
  SlotEmitter(const ClassContext& context, ClassBuilder& builder)
      : c_(context), builder_(builder), messages_(context.rules_context) {
    for (const StageContext& stage : c_.stages) streams_.emplace_back(stage, messages_);
  }

  void emit(const Slot& slot) {
    const SlotStream& stream = streams_of(slot.stage).of(slot.kind);
    if (slot.beside) {
      emit_beside(stream, slot.micro_batch, streams_of(slot.beside->stage).of(Slot::Kind::backward),
                  slot.beside->micro_batch);
    } else {
      receive(stream, slot.micro_batch);
      for (const StreamItem& item : stream.body) add(item, slot.micro_batch);
      send(stream, slot.micro_batch, stream.send_waits_for_body);
    }
    end_before_last_ = end_of_last_;
    end_of_last_ = last_compute_;
  }

 private:
  const StageStreams& streams_of(std::int64_t stage) const {
    const auto found = std::find_if(c_.stages.begin(), c_.stages.end(),
                                    [stage](const StageContext& held) { return held.stage == stage; });
    CHECK(found != c_.stages.end(), stage, c_.pipeline_rank);
    return streams_[static_cast<std::size_t>(found - c_.stages.begin())];
  }

  /// A pair starts when both its messages are there, and both leave when it is done: so DeepSeek's DualPipe runs it.
  void emit_beside(const SlotStream& forward, std::int64_t forward_micro_batch, const SlotStream& backward,
                   std::int64_t backward_micro_batch) {
    std::vector<OpIndex> inputs;
    if (const auto op = receive(forward, forward_micro_batch)) inputs.push_back(*op);
    if (const auto op = receive(backward, backward_micro_batch)) inputs.push_back(*op);
    for (const ZippedItem& zipped : zip(forward.body, backward.body)) {
      add(*zipped.item, zipped.second ? backward_micro_batch : forward_micro_batch, inputs);
      inputs.clear();
    }
    send(forward, forward_micro_batch, true);
    send(backward, backward_micro_batch, true);
  }

  /// A receive is posted while the slot before its own runs, so at most one message of a kind waits in memory.
  std::optional<OpIndex> receive(const SlotStream& stream, std::int64_t micro_batch) {
    if (!stream.receive) return std::nullopt;
    std::vector<OpIndex> after;
    if (end_before_last_) after.push_back(*end_before_last_);
    return emit(*stream.receive, micro_batch, after);
  }

  /// Communication waits for all arithmetic that the host has enqueued before it, needed or not: a collective library
  /// waits for the stream that calls it, and the weight gradient of the matrix before it is on that stream.
  void add(const StreamItem& item, std::int64_t micro_batch, std::vector<OpIndex> after = {}) {
    const bool computes = item.rule->queue == Queue::compute;
    if (!computes && !item.rule->eager && last_compute_) after.push_back(*last_compute_);
    const OpIndex op = emit(item, micro_batch, after);
    if (computes) last_compute_ = op;
  }

  void send(const SlotStream& stream, std::int64_t micro_batch, bool after_body) {
    if (!stream.send) return;
    std::vector<OpIndex> after;
    if (after_body) after.push_back(*last_compute_);
    emit(*stream.send, micro_batch, after);
  }

  OpIndex emit(const StreamItem& item, std::int64_t micro_batch, const std::vector<OpIndex>& after) {
    ClassBuilder::Position at = item.at;
    at.micro_batch = micro_batch;
    return item.kept == nullptr ? builder_.emit(*item.rule, at, after)
                                : builder_.emit_again(*item.rule, at, *item.kept, after);
  }

  const ClassContext& c_;
  ClassBuilder& builder_;
  const MessageRules messages_;
  std::vector<StageStreams> streams_;  // by chunk
  std::optional<OpIndex> last_compute_, end_of_last_, end_before_last_;
};

}  // namespace

void emit_slots(const ClassContext& context, ClassBuilder& builder) {
  SlotEmitter emitter(context, builder);
  for (const Slot& slot : slots_of(context.rules_context.strategy, context.num_micro_batches, context.pipeline_rank)) {
    emitter.emit(slot);
  }
}

}  // namespace orrery::lowering
