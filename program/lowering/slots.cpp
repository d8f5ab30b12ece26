// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "program/lowering/gradient_buckets.h"
#include "program/lowering/slot_stream.h"
#include "program/lowering/stream_runs.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace orrery::lowering {
namespace {

/// Emits the slots of one pipeline rank, one after the other.
class SlotEmitter {
 public:
  SlotEmitter(const ClassContext& context, const std::vector<Slot>& slots, ClassBuilder& builder)
      : c_(context), builder_(builder), messages_(context.rules_context) {
    for (const StageContext& stage : c_.stages) streams_.emplace_back(stage, messages_);
    if (!c_.rules_context.strategy.overlap.dp_buckets) return;
    // Stages in the order in which their last gradients are done.
    std::vector<StageUnits> done;
    for (auto slot = slots.rbegin(); slot != slots.rend(); ++slot) {
      const std::int64_t stage = slot->beside ? slot->beside->stage : slot->stage;
      if (streams_of(stage).of(Slot::Kind::weight_grad).body.empty()) continue;
      const bool is_gradient = slot->beside || is_weight_gradient(slot->kind);
      const auto known = std::find_if(done.begin(), done.end(), [&](const StageUnits& u) { return u.stage == stage; });
      if (is_gradient && known == done.end())
        done.push_back({stage, &streams_of(stage).of(Slot::Kind::weight_grad).body});
      if (is_gradient) ++num_gradients_left_[stage];
    }
    std::reverse(done.begin(), done.end());
    buckets_.emplace(c_, done);
    buckets_->gather_weights(builder_);
  }

  void emit(const Slot& slot) {
    const SlotStream& stream = streams_of(slot.stage).of(slot.kind);
    if (slot.beside) {
      const SlotStream& backward = streams_of(slot.beside->stage).of(Slot::Kind::backward);
      watch(slot.kind, slot.stage, stream);
      watch(Slot::Kind::backward, slot.beside->stage, backward);
      emit_beside(stream, slot.micro_batch, backward, slot.beside->micro_batch);
    } else {
      watch(slot.kind, slot.stage, stream);
      const std::optional<OpIndex> received = receive(stream, slot.micro_batch);
      for (const StreamItem& item : stream.body) add(item, slot.micro_batch);
      if (stream.body.empty()) await_message(stream, received);
      send(stream, slot.micro_batch, stream.send_waits_for_body || stream.body.empty());
    }
    end_before_last_ = std::exchange(end_of_last_, end_of_slot());
  }

  BucketedGradients summed() const {
    BucketedGradients out{buckets_ ? buckets_->reductions() : std::vector<OpIndex>{}};
    for (const auto& [queue, op] : last_of_units_) out.reductions.push_back(op);
    return out;
  }

 private:
  static bool is_weight_gradient(Slot::Kind kind) {
    return kind == Slot::Kind::backward || kind == Slot::Kind::weight_grad;
  }

  /// Remembers what overlapped buckets have to do with the items of a slot: weights are waited for in the first forward
  /// of a stage, and gradients are complete in its last backward.
  void watch(Slot::Kind kind, std::int64_t stage, const SlotStream& stream) {
    if (!buckets_) return;
    const bool is_first = kind == Slot::Kind::forward && begun_.insert(stage).second;
    const bool is_last = is_weight_gradient(kind) && --num_gradients_left_[stage] == 0;
    if (!is_first && !is_last) return;
    for (const Run& run : runs_of(stream.body, c_.rules_context.model.num_layers())) {
      if (run.is_mtp_head) continue;
      if (is_first) opens_[&stream.body[run.begin]] = {stage, run.at.key_layer};
      if (is_last) closes_[&stream.body[run.end - 1]] = {stage, run.at.key_layer};
    }
  }

  const StageStreams& streams_of(std::int64_t stage) const {
    const auto found = std::find_if(c_.stages.begin(), c_.stages.end(),
                                    [stage](const StageContext& held) { return held.stage == stage; });
    CHECK(found != c_.stages.end(), stage, c_.pipeline_rank);
    return streams_[static_cast<std::size_t>(found - c_.stages.begin())];
  }

  /// A pair starts when both its messages are there, and both leave when it is done: so DeepSeek's DualPipe runs it.
  /// Weights that are gathered for it need not wait.
  void emit_beside(const SlotStream& forward, std::int64_t forward_micro_batch, const SlotStream& backward,
                   std::int64_t backward_micro_batch) {
    await_message(forward, receive(forward, forward_micro_batch));
    await_message(backward, receive(backward, backward_micro_batch));
    for (const ZippedItem& zipped : zip(forward.body, backward.body)) {
      add(*zipped.item, zipped.second ? backward_micro_batch : forward_micro_batch);
    }
    send(forward, forward_micro_batch, true);
    send(backward, backward_micro_batch, true);
  }

  /// Has the next arithmetic wait for a message, whether it needs it or not.
  void await_message(const SlotStream& stream, std::optional<OpIndex> received) {
    if (received) awaited_[stream.receive->rule->queue] = *received;
  }

  /// What the next slot comes behind: the last arithmetic, and what the next one waits for.
  std::vector<OpIndex> end_of_slot() const {
    std::vector<OpIndex> ops;
    if (last_compute_) ops.push_back(*last_compute_);
    for (const auto& [queue, op] : awaited_) ops.push_back(op);
    return ops;
  }

  /// A receive is posted while the slot before its own runs, so at most one message of a kind waits in memory.
  std::optional<OpIndex> receive(const SlotStream& stream, std::int64_t micro_batch) {
    if (!stream.receive) return std::nullopt;
    return emit(*stream.receive, micro_batch, end_before_last_);
  }

  /// Communication waits for all arithmetic that the host has enqueued before it, needed or not: a collective library
  /// waits for the stream that calls it, and the weight gradient of the matrix before it is on that stream.
  void add(const StreamItem& item, std::int64_t micro_batch) {
    std::vector<OpIndex> after;
    const bool computes = item.rule->queue == Queue::compute;
    if (!computes && !item.rule->eager && last_compute_) after.push_back(*last_compute_);
    if (const auto opened = opens_.find(&item); opened != opens_.end()) {
      const std::vector<OpIndex> weights = buckets_->weights_of(opened->second);
      after.insert(after.end(), weights.begin(), weights.end());
      opens_.erase(opened);
    }
    if (computes && !awaited_.empty()) {
      for (const auto& [queue, message] : awaited_) after.push_back(message);
      awaited_.clear();
    }
    const OpIndex op = emit(item, micro_batch, after);
    if (computes) last_compute_ = op;
    if (!computes && item.rule->pass == Pass::sync) last_of_units_[item.rule->queue] = op;
    if (const auto closed = closes_.find(&item); closed != closes_.end()) {
      buckets_->close(closed->second, *last_compute_, builder_);
      closes_.erase(closed);
    }
  }

  void send(const SlotStream& stream, std::int64_t micro_batch, bool after_body) {
    if (!stream.send) return;
    emit(*stream.send, micro_batch, after_body ? end_of_slot() : std::vector<OpIndex>{});
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
  std::optional<OpIndex> last_compute_;
  std::map<Queue, OpIndex> awaited_;        // messages, by their queue
  std::map<Queue, OpIndex> last_of_units_;  // sums of gradients of ZeRO 2 and 3, by their queue
  std::vector<OpIndex> end_of_last_, end_before_last_;

  // Of overlapped buckets:
  std::optional<GradientBuckets> buckets_;
  std::set<std::int64_t> begun_;                             // stages whose first forward has been emitted
  std::map<std::int64_t, std::int64_t> num_gradients_left_;  // slots with weight gradients, by stage
  std::map<const StreamItem*, UnitId> opens_, closes_;       // items before and behind which they act
};

}  // namespace

BucketedGradients emit_slots(const ClassContext& context, ClassBuilder& builder) {
  const std::vector<Slot> slots =
      slots_of(context.rules_context.strategy, context.num_micro_batches, context.pipeline_rank);
  SlotEmitter emitter(context, slots, builder);
  for (const Slot& slot : slots) emitter.emit(slot);
  return emitter.summed();
}

}  // namespace orrery::lowering
