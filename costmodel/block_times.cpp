// SPDX-License-Identifier: Apache-2.0
#include "costmodel/block_times.h"

#include "base/check.h"
#include "program/schedule.h"

#include <algorithm>
#include <tuple>
#include <variant>

namespace orrery::costmodel {
namespace {

Seconds& of_pass(SlotTimes& times, Pass pass) {
  return pass == Pass::fwd ? times.forward : pass == Pass::wgrad ? times.weight_grad : times.input_grad;
}

Seconds& host_of_pass(BlockTimes& block, Pass pass) {
  return pass == Pass::fwd ? block.host_forward : pass == Pass::wgrad ? block.host_weight_grad : block.host_input_grad;
}

HostWindow& window_of_pass(HostWindows& windows, Pass pass) {
  return pass == Pass::fwd ? windows.forward : pass == Pass::wgrad ? windows.weight_grad : windows.input_grad;
}

template <std::size_t n>
bool is_one_of(OpCode op, const OpCode (&ops)[n]) {
  return std::find(std::begin(ops), std::end(ops), op) != std::end(ops);
}

/// Of column-parallel products, whose sums and second gathers are enqueued beside the other gradient.
constexpr OpCode kColumns[] = {OpCode::tp_attn_in, OpCode::tp_q_latent,  OpCode::tp_kv_latent,
                               OpCode::tp_mlp_in,  OpCode::tp_shared_in, OpCode::tp_head_in};
constexpr OpCode kRows[] = {OpCode::tp_attn_out, OpCode::tp_mlp_out, OpCode::tp_shared_out};
constexpr OpCode kShared[] = {OpCode::shared_fc1, OpCode::shared_act_quant, OpCode::shared_act, OpCode::shared_fc2,
                              OpCode::shared_gate};

/// Whether arithmetic is enqueued between the op and what needs its result, of ops for which place() knows none.
bool is_not_waited_for(const LayerOp& op, const Strategy& s) {
  constexpr OpCode kRunAgain[] = {OpCode::tp_mlp_out, OpCode::cp_out, OpCode::moe_combine};
  if (op.op == OpCode::tp_shared_out || op.op == OpCode::tp_loss_sum) return true;
  if (op.op == OpCode::tp_k_rope) return op.pass == Pass::igrad;
  if (op.op == OpCode::moe_dispatch) return s.overlap.shared_expert;
  const bool gradients_apart = s.overlap.delayed_wgrad || (s.overlap.tp && splits_backward(s));
  if (gradients_apart && is_one_of(op.op, kColumns)) return op.pass == Pass::igrad || op.pass == Pass::wgrad;
  // In a pair it is followed by arithmetic of the other micro-batch.
  if (op.op == OpCode::etp_scatter) return runs_pairs(s);
  // Nobody needs the output of a module that is run again for what is inside it.
  return op.pass == Pass::rec && is_one_of(op.op, kRunAgain);
}

void place(BlockTimes::Communication& c, const Strategy& s) {
  const auto beside = [&](Beside what, double hidden) {
    c.with = what;
    c.hidden = hidden;
  };
  const Pass pass = c.op.pass;
  const auto* collective = std::get_if<CollectiveShape>(&c.op.shape);
  if (collective && collective->kind == CollectiveKind::ring_shift) {
    // The last gradients of keys and values come home when nothing is left to compute.
    const auto hops = static_cast<double>(s.cp - 1);
    if (c.op.op == OpCode::cp_dkv) return beside(Beside::core_backward, (hops - 1.0) / hops);
    return beside(pass == Pass::fwd   ? Beside::core_forward
                  : pass == Pass::rec ? Beside::core_again
                                      : Beside::core_backward,
                  1.0);
  }
  // All slices but one.
  const double sliced = s.overlap.tp ? static_cast<double>(s.tp - 1) / static_cast<double>(s.tp) : 0.0;
  const bool column = is_one_of(c.op.op, kColumns), row = is_one_of(c.op.op, kRows);
  if ((column || row) && pass == Pass::fwd) return beside(Beside::products_forward, sliced);
  if (c.op.op == OpCode::moe_dispatch && pass == Pass::fwd && s.overlap.shared_expert) {
    return beside(Beside::shared_forward, 1.0);
  }
  if (!column || pass == Pass::rec) return;
  const bool in_turn = !splits_backward(s) && (!s.overlap.delayed_wgrad || c.op.op == OpCode::tp_head_in);
  beside(Beside::products_backward, in_turn ? 1.0 : pass == Pass::igrad ? sliced : 0.0);
}

}  // namespace

bool splits_backward(const Strategy& strategy) {
  return strategy.schedule == Schedule::zb_h1 || strategy.schedule == Schedule::zb_h2 ||
         strategy.schedule == Schedule::zbv;
}

BlockTimes block_times(const std::vector<LayerOp>& ops, ClosedTimer& timer) {
  SlotTimes compute;
  BlockTimes block;
  std::vector<BlockTimes::Communication>& communication = block.communication;
  block.usual = timer.overlap();
  const double usual = block.usual.compute_slowdown;
  const auto by_exchange = [&](const OpTime& time) {
    return time.slowdown_by_exchange.value_or(time.slowdown.value_or(usual));
  };
  const auto beside = [&](Beside what, const OpTime& time) {
    const bool is_exchange = what == Beside::shared_forward;
    block.beside[static_cast<std::size_t>(what)] += time.time;
    block.lost[static_cast<std::size_t>(what)] +=
        time.time * (is_exchange ? by_exchange(time) : time.slowdown.value_or(usual));
  };
  for (const LayerOp& op : ops) {
    const auto count = static_cast<double>(op.count);
    host_of_pass(block, op.pass) += count * timer.host(op);
    if (std::holds_alternative<ExchangeShape>(op.shape) || std::holds_alternative<CollectiveShape>(op.shape)) {
      communication.push_back({.op = op, .with = {}});
      continue;
    }
    OpTime time = timer.timed(op);
    time.time = count * time.time;
    block.extrapolated = block.extrapolated || time.extrapolated;
    of_pass(compute, op.pass) += time.time;
    block.loss.add(time.time, time.slowdown.value_or(usual));
    if (op.pass == Pass::rec) block.again += time.time;
    (op.pass == Pass::fwd ? block.forward_excess : block.backward_excess) += time.time * (by_exchange(time) - usual);
    if (std::holds_alternative<AttentionShape>(op.shape)) {
      beside(op.pass == Pass::fwd   ? Beside::core_forward
             : op.pass == Pass::rec ? Beside::core_again
                                    : Beside::core_backward,
             time);
    } else if (std::holds_alternative<GemmShape>(op.shape) && op.pass != Pass::rec) {
      beside(op.pass == Pass::fwd ? Beside::products_forward : Beside::products_backward, time);
    }
    if (op.pass == Pass::fwd && is_one_of(op.op, kShared)) beside(Beside::shared_forward, time);
  }
  block.forward = compute.forward;
  block.input_grad = compute.input_grad;
  block.weight_grad = compute.weight_grad;
  return block;
}

BlockTimes& BlockTimes::operator+=(const BlockTimes& other) {
  forward += other.forward;
  input_grad += other.input_grad;
  weight_grad += other.weight_grad;
  host_forward += other.host_forward;
  host_input_grad += other.host_input_grad;
  host_weight_grad += other.host_weight_grad;
  forward_excess += other.forward_excess;
  backward_excess += other.backward_excess;
  again += other.again;
  for (std::size_t i = 0; i < kNumBeside; ++i) {
    beside[i] += other.beside[i];
    lost[i] += other.lost[i];
  }
  usual = other.usual;
  loss.add(other.loss, 1.0);
  extrapolated = extrapolated || other.extrapolated;
  communication.insert(communication.end(), other.communication.begin(), other.communication.end());
  return *this;
}

// In an order of its own, so that sums do not depend on that of the parts.
void place_communication(BlockTimes& block, const Strategy& strategy) {
  std::sort(block.communication.begin(), block.communication.end(),
            [](const BlockTimes::Communication& a, const BlockTimes::Communication& b) {
              return std::tie(a.op.pass, a.op.op, a.op.shape) < std::tie(b.op.pass, b.op.op, b.op.shape);
            });
  for (BlockTimes::Communication& c : block.communication) place(c, strategy);
}

void keep_what_is_waited_for(BlockTimes& block, const Strategy& strategy) {
  for (BlockTimes::Communication& c : block.communication) {
    const bool has_slices = is_one_of(c.op.op, kColumns) || is_one_of(c.op.op, kRows);
    if (is_not_waited_for(c.op, strategy)) {
      c.with.reset();
      c.hidden = 1.0;
    } else if (strategy.overlap.tp && c.op.pass == Pass::rec && has_slices) {
      // What is run again is sliced as the forward is; products do not wait for more than one slice.
      c.hidden = 1.0 - 1.0 / static_cast<double>(strategy.tp);
    }
  }
  block.lost = {};
  block.usual = {};
  block.forward_excess = block.backward_excess = {};
}

std::vector<Seconds> communication_times(const BlockTimes& block, ClosedTimer& timer) {
  std::vector<Seconds> times;
  times.reserve(block.communication.size());
  for (const BlockTimes::Communication& c : block.communication)
    times.push_back(static_cast<double>(c.op.count) * timer.time(c.op));
  return times;
}

void add_block(const BlockTimes& block, double num_blocks, const std::vector<Seconds>& communication, Slots& out,
               HostWindows& windows) {
  CHECK(communication.size() == block.communication.size(), communication.size(), block.communication.size());
  SlotTimes& slots = out.times;
  const auto add_window = [&](HostWindow& window, Seconds device, Seconds host) {
    window.device += num_blocks * device;
    window.host += num_blocks * host;
  };
  add_window(windows.forward, block.forward, block.host_forward);
  add_window(windows.input_grad, block.input_grad, block.host_input_grad);
  add_window(windows.weight_grad, block.weight_grad, block.host_weight_grad);
  slots.forward += num_blocks * block.forward;
  slots.input_grad += num_blocks * block.input_grad;
  slots.weight_grad += num_blocks * block.weight_grad;
  slots.forward_excess += num_blocks * block.forward_excess;
  slots.backward_excess += num_blocks * block.backward_excess;
  out.loss.add(block.loss, num_blocks);
  std::array<Seconds, kNumBeside> hidden{};
  for (std::size_t i = 0; i < communication.size(); ++i) {
    const BlockTimes::Communication& c = block.communication[i];
    const Seconds time = communication[i];
    out.communication += num_blocks * time;
    window_of_pass(windows, c.op.pass).device += num_blocks * time;
    if (c.with) hidden[static_cast<std::size_t>(*c.with)] += c.hidden * time;
    of_pass(slots, c.op.pass) += num_blocks * (1.0 - c.hidden) * time;
    const bool to_experts = c.op.op == OpCode::moe_dispatch || c.op.op == OpCode::moe_combine;
    if (to_experts) {
      const bool forward = c.op.pass == Pass::fwd;
      (forward ? slots.forward_exchanges : slots.backward_exchanges) += num_blocks * time;
      (forward ? out.waited_exchanges.forward : out.waited_exchanges.backward) += num_blocks * (1.0 - c.hidden) * time;
    } else {
      out.loss.add_idle(num_blocks * time);
    }
  }
  for (std::size_t i = 0; i < kNumBeside; ++i) {
    const auto with = static_cast<Beside>(i);
    const bool forward =
        with == Beside::products_forward || with == Beside::core_forward || with == Beside::shared_forward;
    OverlapRule rule = block.usual;
    if (block.beside[i] > Seconds::zero()) rule.compute_slowdown = block.lost[i] / block.beside[i];
    const Seconds more = side_by_side(block.beside[i], hidden[i], rule) - block.beside[i];
    (forward ? slots.forward : slots.input_grad) += num_blocks * more;
    (forward ? windows.forward : windows.input_grad).left += num_blocks * more;
  }
}

Seconds time_again(const BlockTimes& block, const std::vector<Seconds>& communication) {
  Seconds time = block.again;
  for (std::size_t i = 0; i < communication.size(); ++i) {
    if (block.communication[i].op.pass == Pass::rec) time += communication[i];
  }
  return time;
}

namespace {

/// Both gradients as one window.
HostWindow backward_of(const HostWindows& windows) {
  return {.device = windows.input_grad.device + windows.weight_grad.device,
          .host = windows.input_grad.host + windows.weight_grad.host,
          .left = windows.input_grad.left + windows.weight_grad.left};
}

}  // namespace

void wait_for_host(const HostWindows& windows, const Strategy& strategy, SlotTimes& slots) {
  slots.forward += windows.forward.missing();
  // ZBV runs the weight gradients of a micro-batch right behind its input gradients, as a whole backward does.
  if (splits_backward(strategy) && strategy.schedule != Schedule::zbv) {
    slots.input_grad += windows.input_grad.missing();
    slots.weight_grad += windows.weight_grad.missing();
    return;
  }
  slots.input_grad += backward_of(windows).missing();
}

bool waits_for_host(const HostWindows& windows, const Strategy& strategy) {
  const Seconds backward = splits_backward(strategy)
                               ? std::max(windows.input_grad.missing(), windows.weight_grad.missing())
                               : backward_of(windows).missing();
  return std::max(windows.forward.missing(), backward) > Seconds::zero();
}

void wait_for_host_at_least(const HostWindows& windows, const Strategy& strategy, SlotTimes& slots) {
  // Slices have a latency each, and pairs are cut into pieces: the device takes longer than is known here.
  if (strategy.overlap.tp || strategy.overlap.ep_batch_level) return;
  // Arithmetic that waits for the host is longer, and hides more of what is beside it.
  const auto missing_of = [](const HostWindow& window) {
    return std::max(Seconds::zero(), window.missing() - window.left);
  };
  slots.forward += missing_of(windows.forward);
  // Of gradients with slots of their own it is unknown which of them waits.
  const bool splits = splits_backward(strategy) || runs_pairs(strategy);
  const HostWindow backward = backward_of(windows);
  if (!splits) slots.input_grad += missing_of(backward);
  if (slots.lead > Seconds::zero()) slots.lead += backward.missing();  // of which it takes an unknown share
}

}  // namespace orrery::costmodel
