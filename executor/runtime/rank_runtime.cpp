// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/rank_runtime.h"

#include "base/check.h"
#include "executor/runtime/run_step_end.h"

#include <algorithm>
#include <cmath>

namespace orrery::executor {
namespace {

Seconds seconds_between(Instant from, Instant to) { return seconds(std::chrono::duration<double>(to - from).count()); }

}  // namespace

struct RankRuntime::PendingSend {
  std::vector<std::unique_ptr<Transfer>> transfers;
  std::vector<TensorUse> uses;
  Span span;
};

RankRuntime::RankRuntime(const StepProgram& program, RankId rank, Endpoint& endpoint, const TrainingSettings& settings)
    : state_(program, rank, endpoint, settings), endpoint_(endpoint) {}

RankRuntime::~RankRuntime() = default;

RankRuntime::Step RankRuntime::run_step() {
  step_ = {};
  state_.totals = {};
  state_.routing.clear();
  state_.weights.dense().clear_gradients();
  state_.weights.expert().clear_gradients();

  const Instant arrival = now();
  const CommReport all_here = state_.groups.world().barrier("step/start");
  // Of all arrivals the last, own included as the others read it: all ranks have the same start.
  start_ = std::max({arrival, all_here.own_arrival, all_here.last_arrival});
  step_.spans.reserve(state_.rank_class.ops.size());
  for (OpIndex op = 0; op < state_.rank_class.ops.size(); ++op) run_op(op);
  collect_sends(/*wait=*/true);

  StepRecord& record = step_.record;
  record.step = static_cast<std::int32_t>(state_.step);
  for (const Span& span : step_.spans) record.time = std::max(record.time, span.end);
  record.tokens = state_.global_tokens();
  record.loss = state_.totals.global_loss;
  record.grad_norm = std::sqrt(state_.totals.squares);
  const std::int64_t peak = state_.tensors.arena().peak_bytes();
  record.peak_memory = bytes(static_cast<double>(peak + state_.weights.kept().total()));
  if (peak > std::exchange(fullest_, peak)) fullest_step_ = state_.step;
  step_.loads = take_loads();
  ++state_.step;
  return std::move(step_);
}

MemoryRecord RankRuntime::memory() const {
  const auto size = [](std::int64_t count) { return bytes(static_cast<double>(count)); };
  const Weights::Kept kept = state_.weights.kept();
  MemoryRecord memory{.rank = state_.view.rank.value(),
                      .step = static_cast<std::int32_t>(fullest_step_),
                      .weights = size(kept.weights),
                      .gradients = size(kept.gradients),
                      .optimizer = size(kept.optimizer),
                      .tensors = {},
                      .resident = {}};
  for (int role = 0; role < kNumTensorRoles; ++role) {
    const std::int64_t count = state_.tensors.fullest()[static_cast<std::size_t>(role)];
    if (count > 0) memory.tensors[std::string(name_of(static_cast<TensorRole>(role)))] = size(count);
  }
  return memory;
}

void RankRuntime::run_op(OpIndex index) {
  const Op& op = state_.rank_class.ops[index];
  OpCall call{.rank = state_, .op = op, .uses = state_.rank_class.uses_of(index), .key = to_string(op.key)};
  endpoint_.set_key(call.key);
  const Instant begin = now();
  learn_arriving_rows(call);
  const bool has_routing = op.key.layer >= 0 && op.key.micro_batch >= 0 && state_.model().moe;
  const ArrivedCounts arrived = has_routing ? call.routed().arrived : ArrivedCounts{};
  for (const TensorUse& use : call.uses) {
    if (use.access() == Access::create) state_.tensors.create(use.tensor(), arrived);
  }
  start_bucket_of(call);

  Span span{.step = static_cast<std::int32_t>(state_.step),
            .rank = state_.view.rank.value(),
            .key = op.key,
            .queue = op.queue,
            .ready = seconds_between(start_, begin)};
  if (is_send(op.queue)) {
    start_sends(call, span);
    collect_sends(/*wait=*/false);
    return;
  }
  if (is_pipeline(op.queue)) {
    for (const TensorUse& use : call.uses) {
      const Matrix message = state_.tensors.matrix(use.tensor());
      call.add_report(state_.groups.edge(op.queue).receive(bytes_of(message), 0, call.key));
    }
  } else {
    function_of(op.key.op)(call);
  }
  const Instant end = now();
  const bool waits = op.queue != Queue::compute && call.report.last_peer >= 0;
  const Instant start = waits ? std::clamp(call.report.last_arrival, begin, end) : begin;
  span.start = seconds_between(start_, start);
  span.end = seconds_between(start_, end);
  span.bytes = bytes(static_cast<double>(call.report.bytes_sent));
  if (waits && start > begin) span.last_peer = state_.groups.rank_of(op, call.report.last_peer);
  step_.spans.push_back(span);
  if (observer_) observer_(call);
  release(call.uses);
  collect_sends(/*wait=*/false);
}

/// A message of several tensors leaves one after the other; its span ends with the last.
void RankRuntime::start_sends(const OpCall& call, Span span) {
  Communicator& edge = state_.groups.edge(call.op.queue);
  const int peer = edge.size() - 1;  // the sender is first in the group of an edge
  span.start = span.ready;
  double num_bytes = 0.0;
  std::vector<std::unique_ptr<Transfer>> transfers;
  for (const TensorUse& use : call.uses) {
    const std::span<const std::byte> payload = bytes_of(state_.tensors.matrix(use.tensor()));
    num_bytes += static_cast<double>(payload.size());
    transfers.push_back(edge.start_send(payload, peer, call.key));
  }
  span.bytes = bytes(num_bytes);
  sends_.push_back({std::move(transfers), {call.uses.begin(), call.uses.end()}, span});
}

void RankRuntime::collect_sends(bool wait) {
  while (!sends_.empty()) {
    PendingSend& send = sends_.front();
    for (const auto& transfer : send.transfers) {
      if (wait) {
        transfer->wait();
      } else if (!transfer->test()) {
        return;
      }
    }
    send.span.end = seconds_between(start_, now());
    step_.spans.push_back(send.span);
    release(send.uses);
    sends_.pop_front();
  }
}

void RankRuntime::release(std::span<const TensorUse> uses) {
  for (const TensorUse& use : uses) {
    if (!use.releases()) continue;
    if (is_of_unit(state_.rank_class.tensors[use.tensor()].role)) {
      state_.weights.end_unit(state_.tensors.matrix(use.tensor()));
    }
    state_.tensors.release(use.tensor());
  }
}

std::vector<LoadRecord> RankRuntime::take_loads() {
  std::vector<LoadRecord> loads;
  for (const auto& [place, routed] : state_.routing.batches()) {
    if (routed.send_counts.empty()) continue;  // a dense layer
    LoadRecord record{.step = static_cast<std::int32_t>(state_.step),
                      .layer = place.first,
                      .micro_batch = place.second,
                      .ep_group = state_.view.coords.edp * state_.strategy().etp + state_.view.coords.etp};
    record.routing = {.group = 1,
                      .num_experts = static_cast<std::int64_t>(routed.send_counts.size()),
                      .pairs = std::vector<double>(routed.send_counts.size())};
    for (std::size_t at = 0; at < routed.send_counts.size(); ++at) {  // loads speak of experts
      const std::int32_t expert = state_.program.experts.expert_at(place.first, static_cast<std::int64_t>(at));
      record.routing.pairs[static_cast<std::size_t>(expert)] = static_cast<double>(routed.send_counts[at]);
    }
    // Where experts are placed, tokens go to other ranks than a load of experts says.
    if (!state_.program.experts.layers.contains(place.first)) {
      record.routing.tokens.assign(routed.sent.counts.begin(), routed.sent.counts.end());
    }
    loads.push_back(std::move(record));
  }
  return loads;
}

}  // namespace orrery::executor
