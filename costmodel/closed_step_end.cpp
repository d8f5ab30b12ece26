// SPDX-License-Identifier: Apache-2.0
#include "costmodel/closed_step_end.h"

#include "costmodel/block_times.h"
#include "program/counts.h"
#include "program/parameters.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

namespace orrery::costmodel {
namespace {

constexpr std::int64_t kNewtonSchulzIterations = 5;

Seconds sum(const std::vector<Seconds>& times) { return std::accumulate(times.begin(), times.end(), Seconds()); }

}  // namespace

ClosedStepEnd::ClosedStepEnd(const Model& model, const Strategy& strategy, const Mesh& mesh, ClosedTimer& timer)
    : model_(model), strategy_(strategy), mesh_(mesh), timer_(timer) {}

ClosedStepEnd::Buffer ClosedStepEnd::buffer_of(const std::vector<StageLayout>& layouts, bool dense) const {
  return {
      .flat = flat_buffer(model_, layouts, strategy_, mesh_, dense ? FlatBufferKind::dense : FlatBufferKind::expert),
      .zero = dense ? strategy_.zero_dense : strategy_.zero_expert,
      .dense = dense};
}

StepEndTimes ClosedStepEnd::times(const std::vector<StageLayout>& layouts, const SlotTimes& slots) {
  const Buffer dense = buffer_of(layouts, true), expert = buffer_of(layouts, false);
  StepEndTimes out = times(dense, expert, layouts);
  if (!strategy_.overlap.dp_buckets) return out;
  Seconds left;
  for (const Buffer* buffer : {&dense, &expert}) {
    const Seconds reduction = reduced(*buffer), gather = gathered(*buffer);
    // The last bucket comes behind everything.
    left = std::max({left, reduction / num_buckets(*buffer), reduction - slots.backward()});
    out.weights_gather = std::max({out.weights_gather, gather / num_buckets(*buffer), gather - slots.forward});
  }
  out.gradient_sync += std::max(Seconds::zero(), left - repeated(layouts));
  return out;
}

StepEndTimes ClosedStepEnd::least_times(const std::vector<StageLayout>& layouts) {
  return times(buffer_of(layouts, true), buffer_of(layouts, false), layouts);
}

StepEndTimes ClosedStepEnd::least_times(const FlatBuffer& dense, const FlatBuffer& expert) {
  return times({.flat = dense, .zero = strategy_.zero_dense, .dense = true},
               {.flat = expert, .zero = strategy_.zero_expert, .dense = false}, {});
}

/// Without what overlapped buckets leave at both ends of the step.
StepEndTimes ClosedStepEnd::times(const Buffer& dense, const Buffer& expert, const std::vector<StageLayout>& layouts) {
  const bool buckets = strategy_.overlap.dp_buckets;
  StepEndTimes out;
  // Groups reduce at the same time, on communicators of their own.
  out.gradient_sync = repeated(layouts);
  if (!buckets) out.gradient_sync = std::max({reduced(dense), reduced(expert), out.gradient_sync});
  out.gradient_sync += timer_.memory_bound(OpCode::norm_local, Pass::sync, dense.flat.shard() + expert.flat.shard(),
                                           size_of(strategy_.grad_dtype), 0);
  const Seconds dense_update = updated(dense, layouts), expert_update = updated(expert, layouts);
  out.update = dense_update + expert_update;
  if (!buckets) out.update = dense_update + std::max(gathered(dense), expert_update + gathered(expert));
  if (strategy_.offload_optimizer) {
    const std::int64_t bytes = offloaded_bytes(dense) + offloaded_bytes(expert);
    out.states_load = timer_.copy(bytes, false);
    out.update = std::max(out.update, dense_update + expert_update + timer_.copy(bytes, true));
  }
  return out;
}

/// Until the shard is complete, from when all gradients are there.
Seconds ClosedStepEnd::reduced(const Buffer& buffer) {
  const bool by_unit = buffer.zero >= 2 && buffer.flat.ranks > 1;
  const Group whole = buffer.dense ? Group::dp : Group::edp;
  if (by_unit || buffer.flat.padded == 0 || mesh_.size(whole) == 1) return {};
  const std::int64_t wire = size_of(strategy_.grad_wire_dtype), grad = size_of(strategy_.grad_dtype);
  Seconds time;
  if (buffer.zero == 0) {
    time = timer_.collective(whole, CollectiveKind::all_reduce, buffer.flat.padded * wire);
  } else {
    const Group shard = buffer.dense ? Group::dp_shard : Group::edp_shard;
    const Group replica = buffer.dense ? Group::dp_replica : Group::edp_replica;
    time = timer_.collective(shard, CollectiveKind::reduce_scatter, buffer.flat.padded * wire) +
           timer_.collective(replica, CollectiveKind::all_reduce, buffer.flat.shard() * wire);
  }
  if (wire == grad || strategy_.overlap.dp_buckets) return time;
  const OpCode cast = buffer.dense ? OpCode::dp_grad_cast : OpCode::edp_grad_cast;
  return time + timer_.memory_bound(cast, Pass::sync, buffer.flat.padded, grad, wire);
}

/// Bucket sizes as in Megatron-LM, distributed_data_parallel.py.
double ClosedStepEnd::num_buckets(const Buffer& buffer) const {
  const std::int64_t ranks = mesh_.size(buffer.dense ? Group::dp : Group::edp);
  const std::int64_t bucket = std::max<std::int64_t>(40'000'000, 1'000'000 * ranks);
  return static_cast<double>(std::max<std::int64_t>(buffer.flat.padded / bucket, 1));
}

/// Gradients of weights that TP ranks or two stages hold alike.
Seconds ClosedStepEnd::repeated(const std::vector<StageLayout>& layouts) {
  const std::int64_t shards = strategy_.zero_dense >= 2 ? mesh_.size(Group::dp_shard) : 1;
  std::int64_t elements = 0;
  for (const Parameter& p : rank_parameters(model_, layouts, strategy_.ep, 0)) {
    if (strategy_.sp && p.split == Split::none && !p.buffer && !p.is_expert()) elements += p.size();
  }
  const std::int64_t grad = size_of(strategy_.grad_dtype);
  Seconds time = timer_.collective(Group::tp, CollectiveKind::all_reduce, elements / shards * grad);
  const bool has_copy = model_.tied_embeddings || (strategy_.mtp == Mtp::on && model_.num_mtp_modules > 0);
  const bool holds = std::any_of(layouts.begin(), layouts.end(), [](const StageLayout& stage) {
    return stage.embedding || stage.head || stage.num_mtp > 0;
  });
  if (has_copy && holds) {
    const std::int64_t matrix = model_.vocab / strategy_.tp * model_.hidden;
    time = std::max(time, timer_.collective(Group::embedding, CollectiveKind::all_reduce, matrix / shards * grad));
  }
  return time;
}

Seconds ClosedStepEnd::updated(const Buffer& buffer, const std::vector<StageLayout>& layouts) {
  const std::int64_t grad = size_of(strategy_.grad_dtype), moment = size_of(strategy_.moment_dtype);
  const std::int64_t master = size_of(strategy_.master_dtype);
  const std::int64_t weight = has_master(strategy_) ? size_of(compute_dtype(strategy_)) : 0;
  const auto update = [&](OpCode op, std::int64_t elements, std::int64_t num_moments) {
    const std::int64_t states = num_moments * moment + master;
    return timer_.memory_bound(op, Pass::update, elements, grad + states, states + weight);
  };
  const Seconds adamw =
      update(buffer.dense ? OpCode::adamw_dense : OpCode::adamw_expert, buffer.owned() - buffer.owned_muon(), 2);
  if (buffer.flat.muon == 0) return adamw;
  return adamw + muon_products(buffer, layouts) +
         update(buffer.dense ? OpCode::muon_dense : OpCode::muon_expert, buffer.owned_muon(), 1);
}

Seconds ClosedStepEnd::muon_products(const Buffer& buffer, const std::vector<StageLayout>& layouts) {
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> num_matrices;  // by smaller and larger side
  for (const Parameter& p : rank_parameters(model_, layouts, strategy_.ep, 0)) {
    if (!is_orthogonalised(p, strategy_) || p.is_expert() == buffer.dense) continue;
    const std::int64_t elements = elements_on_rank(p, model_, strategy_.tp, strategy_.etp);
    const std::int64_t rows = p.split == Split::cols ? p.rows : elements / p.cols, cols = elements / rows;
    ++num_matrices[{std::min(rows, cols), std::max(rows, cols)}];
  }
  Seconds time;
  for (const auto& [sides, count] : num_matrices) {
    const std::int64_t m = sides.first, n = sides.second;
    const std::int64_t owned = buffer.zero >= 1 ? (count + buffer.flat.ranks - 1) / buffer.flat.ranks : count;
    const auto product = [&](std::int64_t batch, std::int64_t inner) {
      const GroupedGemmShape shape{.rows = {Rows::Kind::fixed, batch * m},
                                   .num_experts = batch,
                                   .n = m,
                                   .k = inner,
                                   .dtype = DType::bf16,
                                   .accumulate = DType::bf16};
      return timer_.time({buffer.dense ? OpCode::muon_dense : OpCode::muon_expert, Pass::update, shape});
    };
    time += product(2 * kNewtonSchulzIterations * owned, n) + product(kNewtonSchulzIterations * owned, m);
  }
  return time;
}

Seconds ClosedStepEnd::gathered(const Buffer& buffer) {
  if (buffer.zero == 0 || buffer.zero == 3) return {};
  return timer_.collective(buffer.dense ? Group::dp_shard : Group::edp_shard, CollectiveKind::all_gather,
                           buffer.flat.padded * size_of(compute_dtype(strategy_)));
}

std::int64_t ClosedStepEnd::offloaded_bytes(const Buffer& buffer) const {
  const std::int64_t moment = size_of(strategy_.moment_dtype);
  const std::int64_t master = has_master(strategy_) ? size_of(strategy_.master_dtype) : 0;
  return (buffer.owned() - buffer.owned_muon()) * (2 * moment + master) + buffer.owned_muon() * (moment + master);
}

std::vector<ClosedStepEnd::Unit> ClosedStepEnd::units_of(const StageLayout& layout) const {
  const std::int64_t vocabulary = model_.vocab / strategy_.tp * model_.hidden;
  const std::int64_t num_local = model_.moe ? model_.moe->num_experts / strategy_.ep : 0;
  std::vector<Unit> units;
  if (layout.embedding) units.push_back({.dense = vocabulary});
  for (std::int64_t i = 0; i < layout.num_layers + layout.num_mtp; ++i) {
    const bool is_module = i >= layout.num_layers;
    Unit& unit = units.emplace_back(Unit{.dense = is_module ? vocabulary : 0});
    const std::int64_t layer = is_module ? model_.num_layers() + i - layout.num_layers : layout.first_layer + i;
    for (const Parameter& p : layer_parameters(model_, layer, 0, num_local)) {
      const std::int64_t elements = elements_on_rank(p, model_, strategy_.tp, strategy_.etp);
      if (!p.buffer) (p.is_expert() ? unit.expert : unit.dense) += elements;
    }
  }
  const std::int64_t num_heads = 1 + num_mtp_modules(model_, strategy_.mtp);
  for (std::int64_t i = 0; layout.head && i < num_heads; ++i) units.push_back({.dense = vocabulary + model_.hidden});
  return units;
}

ClosedStepEnd::UnitTimes ClosedStepEnd::unit_times(const StageLayout& layout, bool dense) {
  UnitTimes times;
  const Group shard = dense ? Group::dp_shard : Group::edp_shard;
  const std::int64_t ranks = mesh_.size(shard), wire = size_of(strategy_.grad_wire_dtype);
  if ((dense ? strategy_.zero_dense : strategy_.zero_expert) < 2 || ranks == 1) return times;
  for (const Unit& unit : units_of(layout)) {
    const std::int64_t elements = dense ? unit.dense : unit.expert;
    if (elements == 0) continue;
    times.gather.push_back(
        timer_.collective(shard, CollectiveKind::all_gather, elements * size_of(compute_dtype(strategy_))));
    times.scatter.push_back(timer_.collective(shard, CollectiveKind::reduce_scatter, elements * wire));
    times.replicas.push_back(timer_.collective(dense ? Group::dp_replica : Group::edp_replica,
                                               CollectiveKind::all_reduce, (elements * wire + ranks - 1) / ranks));
  }
  return times;
}

Seconds ClosedStepEnd::gathers_of(const UnitTimes& units, const StageLayout& layout, bool dense) const {
  if ((dense ? strategy_.zero_dense : strategy_.zero_expert) < 3 || units.gather.empty()) return {};
  // The backward of a lookup needs no weights.
  return 2.0 * sum(units.gather) - (dense && layout.embedding ? units.gather.front() : Seconds());
}

Seconds ClosedStepEnd::sharded_queue(const StageLayout& layout, bool dense) {
  const UnitTimes units = unit_times(layout, dense);
  return sum(units.scatter) + gathers_of(units, layout, dense);
}

ClosedStepEnd::Reductions ClosedStepEnd::shard_slots(const StageLayout& layout, SlotTimes& slots) {
  const OverlapRule overlap = timer_.overlap();
  Seconds first_gather, gathers, last_gather;  // dense and expert ones side by side
  Reductions reductions;
  for (const bool dense : {true, false}) {
    const UnitTimes units = unit_times(layout, dense);
    if (units.gather.empty()) continue;
    const Seconds all = sum(units.scatter) + sum(units.replicas);
    reductions.all = std::max(reductions.all, all);
    reductions.last = std::max(reductions.last, units.scatter.front() + units.replicas.front());
    reductions.queue = std::max(reductions.queue, all + gathers_of(units, layout, dense));
    if ((dense ? strategy_.zero_dense : strategy_.zero_expert) < 3) continue;
    first_gather = std::max(first_gather, units.gather.front());
    last_gather = std::max(last_gather, units.gather.back());
    gathers = std::max(gathers, sum(units.gather));
  }
  const SlotTimes alone = slots;
  const Seconds behind =
      splits_backward(strategy_) ? alone.input_grad : alone.backward();  // what gathers of a backward run beside
  slots.forward = first_gather + side_by_side(alone.forward, gathers - first_gather, overlap);
  slots.input_grad += last_gather + side_by_side(behind, gathers - last_gather, overlap) - behind;
  const Seconds beside = std::min(reductions.all, alone.backward());
  slots.weight_grad +=
      side_by_side(alone.backward(), beside / (1.0 + overlap.comm_slowdown), overlap) - alone.backward();
  return reductions;
}

}  // namespace orrery::costmodel
