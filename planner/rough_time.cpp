// SPDX-License-Identifier: Apache-2.0
#include "planner/rough_time.h"

#include "program/mesh.h"
#include "program/parameters.h"
#include "program/schedule.h"

#include <algorithm>
#include <variant>

namespace orrery::planner {
namespace {

// Only the order of changes depends on these, so round numbers do.
constexpr double kEfficiency = 0.5;                       // of the peak rate
constexpr double kPeak = 1e14;                            // FLOP/s of a device that states none
constexpr BytesPerSecond kLink = bytes_per_second(25e9);  // where the cluster states none, PCIe included
constexpr BytesPerSecond kMemory = bytes_per_second(2e12);
constexpr BytesPerSecond kHostOptimizer = bytes_per_second(10e9);  // of states that a host updates, per device
constexpr Seconds kLayerOverhead = microseconds(100);              // of one layer and pass: some twenty kernels

double as_double(std::int64_t x) { return static_cast<double>(x); }

/// Idle over busy time of a pipeline, F = I = W. Source: the table of docs/design/schedules.md.
double bubble(const Strategy& s, std::int64_t num_micro_batches) {
  const double p = as_double(s.pp), m = as_double(num_micro_batches);
  switch (s.schedule) {
    case Schedule::gpipe:
    case Schedule::one_f_one_b:
      return (p - 1.0) / m;
    case Schedule::interleaved:
      return (p - 1.0) / (m * as_double(s.vpp));
    case Schedule::zb_h1:
    case Schedule::zb_h2:
    case Schedule::dualpipev:
      return (p - 1.0) / (3.0 * m);
    case Schedule::zbv:
      return (p - 1.0) / (6.0 * m);
    case Schedule::dualpipe:
      return std::max(0.0, p / 2.0 - 1.0) * 2.0 / (3.0 * m);
  }
  return 0.0;
}

}  // namespace

RoughTime::RoughTime(const Plan& plan) : plan_(plan), group_(plan.cluster.groups.front()) {
  const Model& model = plan.model;
  for (std::int64_t layer = 0; layer < model.num_layers(); ++layer) {
    const bool moe = model.kind(layer) == LayerKind::moe;
    std::int64_t& count = moe ? num_moe_ : num_dense_;
    if (count++ == 0) (moe ? moe_ : dense_) = work_of_layer(layer);
  }
  head_flops_ = 2.0 * as_double(model.vocab * model.hidden);
}

RoughTime::LayerWork RoughTime::work_of_layer(std::int64_t layer) const {
  const Model& model = plan_.model;
  LayerWork work;
  const std::int64_t active = model.moe ? model.moe->top_k : 0;
  for (const Parameter& parameter : layer_parameters(model, layer, 0, active)) {
    const double product = 2.0 * as_double(parameter.size());
    work.flops += product;
    const WeightRole role = parameter.role;
    if (role == WeightRole::q_up || role == WeightRole::kv_up) work.mla_up_flops += product;
    const bool shared = role == WeightRole::shared_fc1 || role == WeightRole::shared_fc2;
    const bool dense_ffn = role == WeightRole::mlp_fc1 || role == WeightRole::mlp_fc2;
    if (shared) work.shared_flops += product;
    if (shared || dense_ffn || parameter.is_expert()) work.ffn_flops += product;
    (parameter.is_expert() ? work.expert_parameters : work.dense_parameters) += parameter.size();
  }
  if (active > 0) work.expert_parameters = work.expert_parameters / active * model.moe->num_experts;
  // Two products over half of the keys, causally: n (dqk + dv) seq FLOP for a token.
  const double width = std::visit(
      [](const auto& a) {
        if constexpr (std::is_same_v<std::decay_t<decltype(a)>, GroupedQueryAttention>) {
          return as_double(a.num_heads * 2 * a.head_dim);
        } else {
          return as_double(a.num_heads * (a.qk_nope_dim + a.qk_rope_dim + a.v_head_dim));
        }
      },
      model.attention);
  work.core_flops = width * as_double(plan_.batch.seq);
  work.flops += work.core_flops;
  const double element = as_double(size_of(compute_dtype(plan_.strategy)));
  work.norm_bytes = 2.0 * 2.0 * as_double(model.hidden) * element;  // two norms, each read and written
  if (model.kind(layer) == LayerKind::moe) {
    work.act_bytes = 3.0 * as_double(model.moe->top_k * model.moe->expert_width) * element;
  }
  return work;
}

Seconds RoughTime::compute_time(double flops, const Strategy& s) const {
  const auto peak = group_.device.peak.find(s.precision);
  const FlopsPerSecond rate = peak == group_.device.peak.end() ? flops_per_second(kPeak) : peak->second;
  return orrery::flops(flops) / (rate * kEfficiency);
}

BytesPerSecond RoughTime::bandwidth(std::int64_t num_neighbours) const {
  const bool inside = num_neighbours <= group_.devices_per_node * group_.scale_up.span_nodes || !group_.nics;
  if (inside) return group_.scale_up.per_device.value_or(kLink);
  const double share = as_double(group_.nics->per_node) / as_double(group_.devices_per_node);
  return group_.nics->each.value_or(kLink) * share;
}

Seconds RoughTime::message_time(const Strategy& s, bool moe) const {
  const Bytes row = bytes(as_double(plan_.model.hidden * size_of(compute_dtype(s))));
  const auto others = [](std::int64_t n) { return as_double(n - 1) / as_double(n); };
  // Of a token of the micro-batch: attention and FFN each gather its row and scatter it again.
  Seconds time = 4.0 * others(s.tp) * (row / bandwidth(s.tp));
  if (moe && s.ep > 1) {
    const double share = 1.0 / as_double(s.tp);  // rows lie on the TP ranks
    time += 2.0 * share * as_double(plan_.model.moe->top_k) * others(s.ep) * (row / bandwidth(s.ep * s.etp));
  }
  if (s.cp > 1) time += 2.0 * as_double(s.cp - 1) / as_double(s.tp) * (row / bandwidth(s.tp * s.cp));
  return time;
}

Seconds RoughTime::recompute_time(const LayerWork& work, bool moe, const std::set<RecomputeModule>& modules,
                                  const Strategy& s) const {
  double flops = 0.0, traffic = 0.0;
  Seconds messages;
  for (const RecomputeModule module : modules) {
    switch (module) {
      case RecomputeModule::full:
        flops += work.flops;
        messages = message_time(s, moe);
        break;
      case RecomputeModule::layernorm:
        traffic += work.norm_bytes;
        break;
      case RecomputeModule::moe_act:
        traffic += work.act_bytes;
        break;
      case RecomputeModule::core_attn:
        flops += work.core_flops;
        break;
      case RecomputeModule::mla_up_proj:
        flops += work.mla_up_flops;
        break;
      case RecomputeModule::mlp:
        flops += moe ? 0.0 : work.ffn_flops;
        break;
      case RecomputeModule::moe:
        flops += moe ? work.ffn_flops : 0.0;
        if (moe) messages = message_time(s, moe);
        break;
      case RecomputeModule::shared_experts:
        flops += work.shared_flops;
        break;
    }
  }
  const double tp = as_double(s.tp);
  return compute_time(flops / tp, s) + messages +
         bytes(traffic / tp) / group_.device.memory_bandwidth.value_or(kMemory);
}

/// Of the busiest pipeline rank; what it saves for the backward travels to the host and back if it is offloaded.
Seconds RoughTime::micro_batch_time(const Strategy& s) const {
  const double tokens = as_double(plan_.batch.seq * s.micro_batch) / as_double(s.cp);
  const Model& model = plan_.model;
  Seconds busiest;
  for (std::int64_t rank = 0; rank < s.pp; ++rank) {
    Seconds time;
    for (const std::int64_t index : stages_of(s, rank)) {
      const StageLayout& stage = s.stages[static_cast<std::size_t>(index)];
      for (std::int64_t i = 0; i < stage.num_layers + stage.num_mtp; ++i) {
        const bool moe = model.kind(stage.first_layer + i) == LayerKind::moe;
        const LayerWork& work = moe ? moe_ : dense_;
        Seconds of_token = 3.0 * compute_time(work.flops / as_double(s.tp), s) + 2.0 * message_time(s, moe);
        if (i < stage.num_recompute_layers.value_or(stage.num_layers)) {
          of_token += recompute_time(work, moe, stage.recompute, s);
        }
        time += tokens * of_token + 3.0 * kLayerOverhead;
      }
      if (stage.head) time += 3.0 * tokens * compute_time(head_flops_ / as_double(s.tp), s);
    }
    busiest = std::max(busiest, time);
  }
  // In DualPipe each rank does the work of both its stages for half of the micro-batches.
  if (s.schedule == Schedule::dualpipe) busiest = 0.5 * busiest;
  if (s.offload_activations) {
    const double row = as_double(model.hidden * size_of(compute_dtype(s)));
    const double layers = as_double(model.num_layers()) / as_double(s.pp);
    busiest += 2.0 * (bytes(tokens / as_double(s.tp) * row * layers) / group_.host.pcie.value_or(kLink));
  }
  const double row = as_double(model.hidden * size_of(compute_dtype(s))) / as_double(s.sp ? s.tp : 1);
  if (s.pp > 1) busiest += 2.0 * as_double(s.vpp) * (bytes(tokens * row) / bandwidth(s.tp * s.cp * s.pp));
  return busiest;
}

/// Gradients and weights between data-parallel ranks, and the optimizer's way to the host.
Seconds RoughTime::exchange_time(const Strategy& s, std::int64_t num_micro_batches) const {
  const Mesh mesh(s, plan_.num_ranks());
  const double weight = as_double(size_of(compute_dtype(s))), gradient = as_double(size_of(s.grad_wire_dtype));
  const auto of = [&](std::int64_t parameters, std::int64_t split, std::int64_t ranks, std::int64_t span, int zero) {
    const double held = as_double(parameters) / as_double(split * s.pp);
    const double times = as_double(num_micro_batches);
    // ZeRO 0: all-reduce; 1: reduce-scatter and all-gather; 2: that reduce-scatter for every micro-batch; 3: weights
    // are gathered before each forward and each backward.
    double sent = held * (zero == 0 ? 2.0 * gradient : gradient + weight);
    if (zero == 2) sent = held * (times * gradient + weight);
    if (zero == 3) sent = held * times * (gradient + 2.0 * weight);
    Seconds time = as_double(ranks - 1) / as_double(ranks) * (bytes(sent) / bandwidth(span));
    const double states = 2.0 * as_double(size_of(s.moment_dtype)) + as_double(size_of(s.master_dtype));
    const double updated = held * states / as_double(zero == 0 ? 1 : ranks);
    if (s.offload_optimizer) time += bytes(updated) / kHostOptimizer;
    return time;
  };
  const Model& model = plan_.model;
  std::int64_t dense = model.vocab * model.hidden * (model.tied_embeddings ? 1 : 2);
  dense += num_dense_ * dense_.dense_parameters + num_moe_ * moe_.dense_parameters;
  const std::int64_t span = mesh.ranks_per_stage();
  Seconds time = of(dense, s.tp, std::max<std::int64_t>(span / s.tp, 1), span, s.zero_dense);
  if (num_moe_ > 0) {
    time += of(num_moe_ * moe_.expert_parameters, s.etp * s.ep, mesh.edp(), span, s.zero_expert);
  }
  return time;
}

Seconds RoughTime::step(const Strategy& s) const {
  const Mesh mesh(s, plan_.num_ranks());
  const std::int64_t num_micro_batches = plan_.batch.global_batch / (mesh.dp() * s.micro_batch);
  return as_double(num_micro_batches) * micro_batch_time(s) * (1.0 + bubble(s, num_micro_batches)) +
         exchange_time(s, num_micro_batches);
}

}  // namespace orrery::planner
