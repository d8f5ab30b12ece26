// SPDX-License-Identifier: Apache-2.0
#include "costmodel/closed_form.h"

#include "costmodel/block_times.h"
#include "costmodel/closed_step_end.h"
#include "costmodel/closed_timer.h"
#include "costmodel/layer_ops.h"
#include "costmodel/pipeline_walk.h"
#include "program/counts.h"
#include "program/schedule.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace orrery::costmodel {
namespace {

/// A 128-bit sum of squares, its overflow flag, and the loss.
constexpr std::int64_t kNormBytes = 32;

class Estimator {
 public:
  Estimator(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
            const CostModel& cost, std::span<const DeviceIndex> device_of_rank)
      : model_(model),
        strategy_(strategy),
        batch_(batch),
        mesh_(mesh),
        timer_(model, strategy, mesh, cost, device_of_rank),
        step_end_(model, strategy, mesh, timer_),
        num_mtp_(num_mtp_modules(model, strategy.mtp)) {}

  ClosedEstimate run() {
    PipelineTimes times;
    for (std::int64_t rank = 0; rank < strategy_.pp; ++rank) {
      timer_.enter(rank);
      times.push_back(estimate(rank));
    }
    const std::int64_t num_micro_batches = batch_.global_batch / (mesh_.dp() * strategy_.micro_batch);
    const std::vector<RankWalk> walked = walk_pipeline(strategy_, num_micro_batches, times, timer_.overlap());

    // Every rank joins the gradient norm when its own gradients are complete.
    Seconds complete, loaded, updated, busiest, forwards, delay;
    const auto slots_per_stage =
        static_cast<double>(num_micro_batches) * (strategy_.schedule == Schedule::dualpipe ? 0.5 : 1.0);
    for (std::size_t r = 0; r < walked.size(); ++r) {
      RankEstimate& rank = out_.ranks[r];
      rank.busy = walked[r].busy;
      busiest = std::max(busiest, rank.busy);
      out_.pipeline = std::max(out_.pipeline, walked[r].end);
      // Reductions of sharded gradients that the slots do not hide come behind them.
      const Seconds left = std::max(Seconds::zero(), slots_per_stage * rank.reductions - rank.busy);
      complete = std::max(complete, walked[r].end + left + rank.gradient_sync);
      // A rank waits for its first weights while the ranks before it run their first forward.
      delay = std::max(delay, rank.weights_gather - forwards);
      forwards += rank.forward;
      loaded = std::max(loaded, walked[r].end + rank.states_load);
      updated = std::max(updated, rank.update);
    }
    timer_.enter(0);
    const Seconds norm = timer_.collective(Group::world, CollectiveKind::all_reduce, kNormBytes);
    out_.bubble = out_.pipeline - busiest;
    out_.step_time = delay + std::max(complete + norm, loaded) + updated;
    out_.extrapolated = timer_.extrapolated();
    return std::move(out_);
  }

 private:
  /// Layers with the same kind, span and modules take the same.
  using LayerClass = std::tuple<LayerKind, AttentionSpan, std::set<RecomputeModule>>;

  const BlockTimes& layer_times(std::int64_t layer, const LayerClass& of) {
    const auto [found, is_new] = layer_times_.try_emplace(of);
    if (is_new) found->second = times_of(layer_ops(model_, strategy_, batch_, layer, std::get<2>(of)));
    return found->second;
  }
  BlockTimes times_of(const std::vector<LayerOp>& ops) { return block_times(ops, strategy_, timer_); }

  SlotTimes stage_times(const StageLayout& layout, RankEstimate& rank) {
    SlotTimes slots;
    HostWindows windows;
    struct Layers {
      std::int64_t one = 0;  // of them
      double count = 0.0;
    };
    std::map<LayerClass, Layers> layers;
    const auto add_layer = [&](std::int64_t layer, bool recomputes) {
      Layers& alike =
          layers[{model_.kind(layer), model_.span(layer), recomputes ? layout.recompute : std::set<RecomputeModule>{}}];
      alike.one = layer;
      alike.count += 1.0;
    };
    for (std::int64_t i = 0; i < layout.num_layers; ++i) {
      add_layer(layout.first_layer + i, i < layout.num_recompute_layers.value_or(layout.num_layers));
    }
    for (std::int64_t i = 0; i < layout.num_mtp; ++i) add_layer(model_.num_layers() + i, !layout.num_recompute_layers);

    const auto add = [&](const BlockTimes& block, double count) {
      rank.communication += add_block(block, count, timer_, slots, windows);
    };
    for (const auto& [of, alike] : layers) add(layer_times(alike.one, of), alike.count);
    if (layout.embedding) add(times_of(embedding_ops(model_, strategy_, batch_)), 1.0);
    if (layout.num_mtp > 0) {
      add(times_of(mtp_ops(model_, strategy_, batch_, !layout.head)), static_cast<double>(layout.num_mtp));
    }
    if (layout.head) {
      add(times_of(head_ops(model_, strategy_, batch_, layout.num_mtp > 0)), static_cast<double>(1 + num_mtp_));
    }
    wait_for_host(windows, strategy_, slots);
    return slots;
  }

  /// Bytes between a stage and the one behind it: the residual stream, and what modules before it have made of it.
  std::int64_t message_bytes(std::int64_t stage) const {
    std::int64_t streams = 1;
    for (std::int64_t s = 0; s <= stage; ++s) streams += strategy_.stages[static_cast<std::size_t>(s)].num_mtp;
    const std::int64_t rows = batch_.seq * strategy_.micro_batch / strategy_.cp / (strategy_.sp ? strategy_.tp : 1);
    return streams * rows * model_.hidden * size_of(compute_dtype(strategy_));
  }

  std::vector<SlotTimes> estimate(std::int64_t rank) {
    RankEstimate estimate;
    Seconds last_reduction;
    std::vector<SlotTimes> out;
    std::vector<StageLayout> layouts;
    const std::vector<std::int64_t> stages = stages_of(strategy_, rank);
    for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
      layouts.push_back(strategy_.stages[static_cast<std::size_t>(stages[chunk])]);
      SlotTimes slots = stage_times(layouts.back(), estimate);
      const Neighbour behind = neighbours_of(strategy_, rank, chunk).behind;
      if (behind == Neighbour::next_rank || behind == Neighbour::previous_rank) {
        slots.message = timer_.message(message_bytes(stages[chunk]), behind == Neighbour::next_rank);
      }
      const ClosedStepEnd::Reductions reductions = step_end_.shard_slots(layouts.back(), slots);
      estimate.reductions += reductions.all;
      last_reduction = std::max(last_reduction, reductions.last);
      estimate.forward += slots.forward;
      estimate.backward += slots.backward();
      out.push_back(slots);
    }
    const StepEndTimes end = step_end_.times(layouts, out.front());
    estimate.weights_gather = end.weights_gather;
    estimate.gradient_sync = last_reduction + end.gradient_sync;
    estimate.states_load = end.states_load;
    estimate.update = end.update;
    out_.ranks.push_back(estimate);
    return out;
  }

  const Model& model_;
  const Strategy& strategy_;
  const BatchShape& batch_;
  const Mesh& mesh_;
  ClosedTimer timer_;
  ClosedStepEnd step_end_;
  const std::int64_t num_mtp_;
  std::map<LayerClass, BlockTimes> layer_times_;
  ClosedEstimate out_;
};

}  // namespace

ClosedEstimate estimate_closed(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                               const CostModel& cost, std::span<const DeviceIndex> device_of_rank) {
  return Estimator(model, strategy, batch, mesh, cost, device_of_rank).run();
}

}  // namespace orrery::costmodel
