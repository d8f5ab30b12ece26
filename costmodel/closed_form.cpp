// SPDX-License-Identifier: Apache-2.0
#include "costmodel/closed_form.h"

#include "base/check.h"
#include "costmodel/layer_ops.h"
#include "program/flat_buffer.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

namespace orrery::costmodel {
namespace {

RankId first_rank_of(const Mesh& mesh, std::int64_t stage) {
  return RankId(static_cast<std::int32_t>(stage * mesh.ranks_per_stage()));
}

/// A balanced router: every rank sends the same number of pairs to every expert.
RoutingMatrix balanced_routing(std::int64_t group, std::int64_t num_experts, std::int64_t pairs) {
  return routing(BalancedLoad{}, {.group = group, .num_experts = num_experts, .pairs_per_rank = pairs});
}

class Estimator {
 public:
  Estimator(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
            const CostModel& cost, std::span<const DeviceIndex> device_of_rank)
      : model_(model), strategy_(strategy), batch_(batch), mesh_(mesh), cost_(cost), device_of_rank_(device_of_rank) {}

  ClosedEstimate run() {
    const std::int64_t num_micro_batches = batch_.global_batch / (mesh_.dp() * strategy_.micro_batch);
    PipelineTimes times;
    for (std::int64_t stage = 0; stage < strategy_.pp; ++stage) {
      enter(stage);
      out_.stages.push_back(estimate(strategy_.stages[static_cast<std::size_t>(stage)]));
      times.forward.push_back(out_.stages.back().forward);
      times.backward.push_back(out_.stages.back().backward);
    }
    if (strategy_.pp > 1) times.message = message();
    out_.pipeline = pipeline_time(strategy_.schedule, num_micro_batches, times);

    // The first stage ends last. The others end earlier by the backwards that drain before it, and every rank joins
    // the gradient norm when its own gradients are complete.
    Seconds complete, updated, busiest, drained;
    for (std::size_t s = 0; s < out_.stages.size(); ++s) {
      const StageEstimate& stage = out_.stages[s];
      complete = std::max(complete, out_.pipeline - drained + stage.gradient_sync);
      updated = std::max(updated, stage.update);
      busiest = std::max(busiest, static_cast<double>(num_micro_batches) * (stage.forward + stage.backward));
      drained += stage.backward + times.message;
    }
    enter(0);
    const Seconds norm = collective(Group::world, CollectiveKind::all_reduce, kNormBytes);
    out_.bubble = out_.pipeline - busiest;
    out_.step_time = complete + norm + updated;
    return std::move(out_);
  }

 private:
  // A 128-bit sum of squares, its overflow flag, and the loss.
  static constexpr std::int64_t kNormBytes = 32;

  void enter(std::int64_t stage) { rank_ = first_rank_of(mesh_, stage); }

  DeviceIndex device_of(RankId rank) const {
    return device_of_rank_.empty() ? DeviceIndex(rank.value()) : device_of_rank_[rank.index()];
  }
  std::vector<DeviceIndex> members(Group group) const {
    std::vector<DeviceIndex> devices;
    for (RankId member : mesh_.members(group, rank_)) devices.push_back(device_of(member));
    return devices;
  }

  Seconds noted(const OpTime& time) {
    out_.extrapolated = out_.extrapolated || time.extrapolated;
    return time.time;
  }
  Seconds noted(const CommTime& time) {
    out_.extrapolated = out_.extrapolated || time.extrapolated;
    return time.alone();
  }

  Seconds compute(OpCode op, Pass pass, const OpShape& shape) {
    ResolvedLoad load;
    const Rows* rows = nullptr;
    if (const auto* grouped = std::get_if<GroupedGemmShape>(&shape)) rows = &grouped->rows;
    if (const auto* memory = std::get_if<MemoryShape>(&shape)) rows = &memory->rows;
    if (rows && rows->kind == Rows::Kind::received) {
      const std::int64_t num_local = model_.moe->num_experts / strategy_.ep;
      load.received = static_cast<double>(rows->count);
      load.rows_per_expert.assign(static_cast<std::size_t>(num_local), load.received / static_cast<double>(num_local));
    }
    return noted(cost_.compute({.pass = pass, .op = op}, shape, load, device_of(rank_)));
  }

  Seconds collective(Group group, CollectiveKind kind, std::int64_t num_bytes) {
    if (mesh_.size(group) < 2 || num_bytes == 0) return {};
    return noted(cost_.collective({.kind = kind, .group = group, .bytes = num_bytes}, members(group)));
  }

  Seconds exchange(const ExchangeShape& shape) {
    // All exchanges of a plan route the same pairs.
    if (!routing_) routing_ = balanced_routing(strategy_.ep, model_.moe->num_experts, shape.rows.count);
    return noted(cost_.exchange(shape, *routing_, members(Group::ep)));
  }

  /// What a block does for one micro-batch: compute takes the same on every stage, exchanges depend on where it is.
  struct BlockTimes {
    Seconds forward, backward;
    std::vector<LayerOp> exchanges;
  };

  BlockTimes block_times(const std::vector<LayerOp>& ops) {
    BlockTimes block;
    for (const LayerOp& op : ops) {
      if (std::holds_alternative<ExchangeShape>(op.shape)) {
        block.exchanges.push_back(op);
      } else {
        (op.pass == Pass::fwd ? block.forward : block.backward) += compute(op.op, op.pass, op.shape);
      }
    }
    return block;
  }

  void add(const BlockTimes& block, double times, StageEstimate& stage) {
    stage.forward += times * block.forward;
    stage.backward += times * block.backward;
    for (const LayerOp& op : block.exchanges) {
      const Seconds time = times * exchange(std::get<ExchangeShape>(op.shape));
      (op.pass == Pass::fwd ? stage.forward : stage.backward) += time;
      stage.exchanges += time;
    }
  }

  const BlockTimes& layer_times(LayerKind kind, const std::set<RecomputeModule>& recompute) {
    const auto [found, is_new] = layer_times_.try_emplace({kind, recompute});
    if (is_new) found->second = block_times(layer_ops(model_, strategy_, batch_, 0, recompute));
    return found->second;
  }

  StageEstimate estimate(const StageLayout& layout) {
    StageEstimate stage;
    std::map<std::pair<LayerKind, bool>, std::int64_t> num_layers;  // by kind, and whether it recomputes
    for (std::int64_t i = 0; i < layout.num_layers; ++i) {
      const bool recomputes = i < layout.num_recompute_layers.value_or(layout.num_layers);
      ++num_layers[{model_.kind(layout.first_layer + i), recomputes}];
    }
    for (const auto& [kind, count] : num_layers) {
      const std::set<RecomputeModule> modules = kind.second ? layout.recompute : std::set<RecomputeModule>{};
      add(layer_times(kind.first, modules), static_cast<double>(count), stage);
    }
    if (layout.embedding) add(block_times(embedding_ops(model_, strategy_, batch_)), 1.0, stage);
    if (layout.head) add(block_times(head_ops(model_, strategy_, batch_)), 1.0, stage);
    add_step_end(layout, stage);
    return stage;
  }

  Seconds memory_bound(OpCode op, Pass pass, std::int64_t rows, std::int64_t read, std::int64_t written) {
    return compute(op, pass,
                   MemoryShape{.rows = {Rows::Kind::fixed, rows}, .read_per_row = read, .written_per_row = written});
  }

  void add_step_end(const StageLayout& layout, StageEstimate& stage) {
    const FlatBuffer dense = flat_buffer(model_, layout, strategy_, mesh_, FlatBufferKind::dense);
    const FlatBuffer expert = flat_buffer(model_, layout, strategy_, mesh_, FlatBufferKind::expert);
    const auto reduced = [&](Group group, const FlatBuffer& buffer, int zero) {
      return collective(group, zero >= 1 ? CollectiveKind::reduce_scatter : CollectiveKind::all_reduce,
                        buffer.padded * size_of(strategy_.grad_wire_dtype));
    };
    const auto gathered = [&](Group group, const FlatBuffer& buffer, int zero) {
      if (zero == 0) return Seconds::zero();
      return collective(group, CollectiveKind::all_gather, buffer.padded * size_of(strategy_.precision));
    };
    const auto updated = [&](OpCode op, const FlatBuffer& buffer, int zero) {
      if (buffer.padded == 0) return Seconds::zero();
      const std::int64_t state = 2 * size_of(strategy_.moment_dtype) + size_of(strategy_.master_dtype);
      return memory_bound(op, Pass::update, zero >= 1 ? buffer.shard() : buffer.padded,
                          size_of(strategy_.grad_dtype) + state,
                          state + (has_master(strategy_) ? size_of(strategy_.precision) : 0));
    };
    // The two groups reduce at the same time, on communicators of their own.
    stage.gradient_sync =
        std::max(reduced(Group::dp, dense, strategy_.zero_dense), reduced(Group::edp, expert, strategy_.zero_expert)) +
        memory_bound(OpCode::norm_local, Pass::sync, dense.shard() + expert.shard(), size_of(strategy_.grad_dtype), 0);
    const Seconds dense_update = updated(OpCode::adamw_dense, dense, strategy_.zero_dense);
    const Seconds expert_update = updated(OpCode::adamw_expert, expert, strategy_.zero_expert);
    stage.update = dense_update + std::max(gathered(Group::dp, dense, strategy_.zero_dense),
                                           expert_update + gathered(Group::edp, expert, strategy_.zero_expert));
  }

  Seconds message() {
    const std::int64_t tokens = batch_.seq * strategy_.micro_batch;
    Seconds slowest;
    for (std::int64_t stage = 0; stage + 1 < strategy_.pp; ++stage) {
      const PeerShape shape{.bytes = tokens * model_.hidden * size_of(strategy_.precision)};
      slowest = std::max(slowest, noted(cost_.peer(shape, device_of(first_rank_of(mesh_, stage)),
                                                   device_of(first_rank_of(mesh_, stage + 1)))));
    }
    return slowest;
  }

  const Model& model_;
  const Strategy& strategy_;
  const BatchShape& batch_;
  const Mesh& mesh_;
  const CostModel& cost_;
  std::span<const DeviceIndex> device_of_rank_;
  RankId rank_;
  std::optional<RoutingMatrix> routing_;
  std::map<std::pair<LayerKind, std::set<RecomputeModule>>, BlockTimes> layer_times_;
  ClosedEstimate out_;
};

Seconds sum(const std::vector<Seconds>& times) { return std::accumulate(times.begin(), times.end(), Seconds::zero()); }
Seconds largest(const std::vector<Seconds>& times) { return *std::max_element(times.begin(), times.end()); }

}  // namespace

Seconds pipeline_time(Schedule schedule, std::int64_t num_micro_batches, const PipelineTimes& times) {
  const auto m = static_cast<double>(num_micro_batches), p = static_cast<double>(times.forward.size());
  if (schedule == Schedule::gpipe) {
    return sum(times.forward) + (m - 1.0) * largest(times.forward) + sum(times.backward) +
           (m - 1.0) * largest(times.backward) + 2.0 * (p - 1.0) * times.message;
  }
  CHECK(schedule == Schedule::one_f_one_b, name_of(schedule));
  std::vector<Seconds> both(times.forward.size());
  for (std::size_t i = 0; i < both.size(); ++i) both[i] = times.forward[i] + times.backward[i];
  const double num_messages = p > 1.0 ? 2.0 * (p - 1.0) * (m / p + 1.0) - 2.0 : 0.0;
  return sum(both) + (m - 1.0) * largest(both) + num_messages * times.message;
}

ClosedEstimate estimate_closed(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                               const CostModel& cost, std::span<const DeviceIndex> device_of_rank) {
  return Estimator(model, strategy, batch, mesh, cost, device_of_rank).run();
}

}  // namespace orrery::costmodel
