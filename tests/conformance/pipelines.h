// SPDX-License-Identifier: Apache-2.0
// Pipelines of equal stages under any schedule, in two forms: written by hand, one op for a slot; and lowered from a
// model of one layer for each stage, with op times that add up to the same slots.
#pragma once

#include "program/lower.h"
#include "program/schedule.h"
#include "tests/conformance/programs.h"

#include <map>
#include <utility>
#include <vector>

namespace orrery::testing {

/// Times of one stage. A message takes `message` and no bandwidth, so that no two of them ever share a link.
struct StageTimes {
  Seconds forward, input_grad, weight_grad;
  Seconds pair = {};  // a forward and a backward that overlap
  Seconds message = {};
  std::int64_t message_bytes = 0;  // instead of `message`: on links of the cluster
};

/// The hand-written form: a slot is one op, a whole backward an input and a weight gradient. A receive stands before
/// each slot that has an input from another rank, a send behind it; the gradient of a whole backward leaves when both
/// are done.
class PipelineWriter {
 public:
  PipelineWriter(const Strategy& strategy, std::int64_t num_micro_batches, const StageTimes& times)
      : strategy_(strategy), times_(times), builder_(strategy.pp, 1, 1, 8, strategy.schedule) {
    for (std::int64_t rank = 0; rank < strategy.pp; ++rank) {
      for (const Slot& slot : slots_of(strategy, num_micro_batches, rank)) write(rank, slot);
    }
  }

  const StepProgram& program() const { return builder_.program(); }

 private:
  void write(std::int64_t rank, const Slot& slot) {
    switch (slot.kind) {
      case Slot::Kind::forward: {
        std::vector<OpIndex> inputs = receive_act(rank, slot.stage);
        if (!slot.beside) {
          send_act(rank, slot.stage, builder_.compute(rank, times_.forward, inputs));
          break;
        }
        for (const OpIndex op : receive_grad(rank, slot.beside->stage)) inputs.push_back(op);
        const OpIndex pair = builder_.compute(rank, times_.pair, inputs);
        send_act(rank, slot.stage, pair);
        send_grad(rank, slot.beside->stage, pair);
        break;
      }
      case Slot::Kind::backward:
        builder_.compute(rank, times_.input_grad, receive_grad(rank, slot.stage));
        send_grad(rank, slot.stage, builder_.compute(rank, times_.weight_grad));
        break;
      case Slot::Kind::input_grad:
        send_grad(rank, slot.stage, builder_.compute(rank, times_.input_grad, receive_grad(rank, slot.stage)));
        break;
      case Slot::Kind::weight_grad:
        builder_.compute(rank, times_.weight_grad);
        break;
    }
  }

  StageNeighbours around(std::int64_t rank, std::int64_t stage) const {
    const std::vector<std::int64_t> held = stages_of(strategy_, rank);
    const auto chunk = std::find(held.begin(), held.end(), stage) - held.begin();
    return neighbours_of(strategy_, rank, static_cast<std::size_t>(chunk));
  }
  /// The message to or from `neighbour` on one of two queues, if that is another rank.
  std::vector<OpIndex> message(std::int64_t rank, OpCode op, Neighbour neighbour, Queue next, Queue previous,
                               std::vector<OpIndex> deps = {}) {
    if (neighbour == Neighbour::none || neighbour == Neighbour::same_rank) return {};
    return {builder_.message(rank, op, neighbour == Neighbour::next_rank ? next : previous, times_.message_bytes,
                             std::move(deps))};
  }
  std::vector<OpIndex> receive_act(std::int64_t rank, std::int64_t stage) {
    return message(rank, OpCode::pp_recv_act, around(rank, stage).before, Queue::pp_recv_next_act, Queue::pp_recv_prev);
  }
  std::vector<OpIndex> receive_grad(std::int64_t rank, std::int64_t stage) {
    return message(rank, OpCode::pp_recv_grad, around(rank, stage).behind, Queue::pp_recv_next,
                   Queue::pp_recv_prev_grad);
  }
  void send_act(std::int64_t rank, std::int64_t stage, OpIndex from) {
    message(rank, OpCode::pp_send_act, around(rank, stage).behind, Queue::pp_send_next, Queue::pp_send_prev_act,
            {from});
  }
  void send_grad(std::int64_t rank, std::int64_t stage, OpIndex from) {
    message(rank, OpCode::pp_send_grad, around(rank, stage).before, Queue::pp_send_next_grad, Queue::pp_send_prev,
            {from});
  }

  const Strategy strategy_;
  const StageTimes times_;
  ProgramBuilder builder_;
};

inline StepProgram pipeline_program(Schedule schedule, std::int64_t num_ranks, std::int64_t num_micro_batches,
                                    const StageTimes& times, std::int64_t chunks = 1) {
  Strategy strategy;
  strategy.schedule = schedule;
  strategy.pp = num_ranks;
  strategy.vpp = chunks;
  return PipelineWriter(strategy, num_micro_batches, times).program();
}

/// The lowered form: a dense model with one layer for each stage.
inline StepProgram lowered_pipeline(Schedule schedule, std::int64_t num_ranks, std::int64_t num_micro_batches,
                                    std::int64_t chunks = 1, std::int64_t num_pipelines = 1) {
  Strategy strategy;
  strategy.schedule = schedule;
  strategy.pp = num_ranks;
  strategy.vpp = chunks;
  Model model;
  model.name = "pipeline";
  model.family = "llama";
  model.hidden = 8;
  model.vocab = 16;
  model.dense_width = 8;
  model.attention = GroupedQueryAttention{.num_heads = 1, .num_kv_heads = 1, .head_dim = 8};
  model.layers.assign(static_cast<std::size_t>(strategy.num_stages()), LayerKind::dense);
  strategy.stages = even_stages(model.num_layers(), strategy.num_stages());
  return lower(model, strategy, {.seq = 1, .global_batch = num_micro_batches * num_pipelines},
               num_ranks * num_pipelines);
}

/// The times of that form: one op of the layer takes the time of the slot, the others none.
class OneOpForASlot : public costmodel::CostModel {
 public:
  explicit OneOpForASlot(const StageTimes& times) : times_(times) {}

  costmodel::OpTime compute(const OpKey& key, const OpShape&, const ResolvedLoad&, DeviceIndex) const override {
    if (key.op == OpCode::attn_norm && key.pass == Pass::fwd) return {.time = times_.forward};
    if (key.op == OpCode::attn_norm && key.pass == Pass::igrad) return {.time = times_.input_grad};
    if (key.op == OpCode::attn_qkv && key.pass == Pass::wgrad) return {.time = times_.weight_grad};
    return {};
  }
  costmodel::CommTime collective(const CollectiveShape&, std::span<const DeviceIndex>) const override { return {}; }
  costmodel::CommTime exchange(const ExchangeShape&, const RoutingMatrix&,
                               std::span<const DeviceIndex>) const override {
    return {};
  }
  costmodel::CommTime copy(const CopyShape&, DeviceIndex) const override { return {}; }
  costmodel::CommTime peer(const PeerShape&, DeviceIndex, DeviceIndex) const override {
    return {.latency = times_.message, .legs = {}, .num_legs = 0};
  }
  costmodel::OverlapRule overlap(DeviceIndex) const override { return {}; }

 private:
  StageTimes times_;
};

/// Most micro-batches on a rank at a time, from the first op of their forward to the last of their weight gradient.
inline std::int64_t most_in_flight(const RankClass& c) {
  using Key = std::pair<std::int16_t, std::int32_t>;  // stage and micro-batch
  std::map<Key, OpIndex> last;
  for (OpIndex op = 0; op < c.ops.size(); ++op) {
    const OpKey& key = c.ops[op].key;
    if (key.micro_batch >= 0 && !is_pipeline(c.ops[op].queue)) last[{key.stage, key.micro_batch}] = op;
  }
  std::int64_t now = 0, most = 0;
  std::map<Key, bool> seen;
  for (OpIndex op = 0; op < c.ops.size(); ++op) {
    const OpKey& key = c.ops[op].key;
    if (key.micro_batch < 0 || is_pipeline(c.ops[op].queue)) continue;
    if (!std::exchange(seen[{key.stage, key.micro_batch}], true)) most = std::max(most, ++now);
    if (last[{key.stage, key.micro_batch}] == op) --now;
  }
  return most;
}

}  // namespace orrery::testing
