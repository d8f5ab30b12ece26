// SPDX-License-Identifier: Apache-2.0
#include "costmodel/closed_form.h"

#include "costmodel/block_times.h"
#include "costmodel/closed_step_end.h"
#include "costmodel/closed_timer.h"
#include "costmodel/offload_time.h"
#include "costmodel/pipeline_walk.h"
#include "costmodel/stage_blocks.h"
#include "program/schedule.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace orrery::costmodel {
namespace {

class Estimator {
 public:
  Estimator(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
            const CostModel& cost, std::span<const DeviceIndex> device_of_rank, PieceTimes* pieces)
      : model_(model),
        strategy_(strategy),
        batch_(batch),
        num_micro_batches_(batch.global_batch / (mesh.dp() * strategy.micro_batch)),
        slots_per_stage_(slots_per_stage(strategy, num_micro_batches_)),
        timer_(model, strategy, mesh, cost, device_of_rank),
        step_end_(model, strategy, mesh, timer_),
        blocks_(model, strategy, batch, timer_, StageBlocks::Aim::estimate, pieces) {
    if (strategy.offload_activations) activations_.emplace(model, strategy, batch, mesh, MemoryModel{});
  }

  ClosedEstimate run() {
    PipelineTimes times;
    for (std::int64_t rank = 0; rank < strategy_.pp; ++rank) {
      timer_.enter(rank);
      times.push_back(estimate(rank));
    }
    const std::vector<RankWalk> walked = walk_pipeline(strategy_, num_micro_batches_, times, timer_.overlap());

    // Every rank joins the gradient norm when its own gradients are complete.
    Seconds complete, loaded, updated, busiest, forwards, delay;
    for (std::size_t r = 0; r < walked.size(); ++r) {
      RankEstimate& rank = out_.ranks[r];
      rank.busy = walked[r].busy;
      busiest = std::max(busiest, rank.busy);
      out_.pipeline = std::max(out_.pipeline, walked[r].end);
      // The queue of copies may take longer than the slots that it runs beside.
      out_.pipeline = std::max(out_.pipeline, rank.copies);
      complete = std::max(complete, rank.copies);
      // Reductions of sharded gradients that the slots do not hide come behind them.
      const Seconds left = std::max(Seconds::zero(), slots_per_stage_ * rank.reductions - rank.busy);
      complete = std::max(complete, walked[r].end + left + rank.gradient_sync);
      // A rank waits for its first weights while the ranks before it run their first forward.
      delay = std::max(delay, rank.weights_gather - forwards);
      forwards += rank.forward;
      loaded = std::max(loaded, walked[r].end + rank.states_load);
      updated = std::max(updated, rank.update);
    }
    timer_.enter(0);
    const Seconds norm = timer_.norm();
    out_.bubble = out_.pipeline - busiest;
    out_.step_time = delay + std::max(complete + norm, loaded) + updated;
    out_.extrapolated = timer_.extrapolated() || blocks_.extrapolated();
    return std::move(out_);
  }

 private:
  std::vector<SlotTimes> estimate(std::int64_t rank) {
    RankEstimate estimate;
    Seconds last_reduction;
    std::vector<SlotTimes> out;
    std::vector<StageLayout> layouts;
    const std::vector<std::int64_t> stages = stages_of(strategy_, rank);
    for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
      layouts.push_back(strategy_.stages[static_cast<std::size_t>(stages[chunk])]);
      const Slots stage = blocks_.slots(layouts.back());
      estimate.communication += stage.communication;
      SlotTimes slots = stage.times;
      slots.message = StageBlocks::message(model_, strategy_, batch_, rank, chunk, timer_);
      const ClosedStepEnd::Reductions reductions = step_end_.shard_slots(layouts.back(), slots);
      estimate.reductions += reductions.all;
      last_reduction = std::max(last_reduction, reductions.last);
      estimate.forward += slots.forward;
      estimate.backward += slots.backward();
      out.push_back(slots);
    }
    if (activations_) estimate.copies = slots_per_stage_ * offload_time(layouts, *activations_, timer_);
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
  const std::int64_t num_micro_batches_;
  const double slots_per_stage_;
  ClosedTimer timer_;
  ClosedStepEnd step_end_;
  StageBlocks blocks_;
  std::optional<ActivationPeaks> activations_;  // if they are offloaded
  ClosedEstimate out_;
};

}  // namespace

ClosedEstimate estimate_closed(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                               const CostModel& cost, std::span<const DeviceIndex> device_of_rank, PieceTimes* pieces) {
  return Estimator(model, strategy, batch, mesh, cost, device_of_rank, pieces).run();
}

}  // namespace orrery::costmodel
