// SPDX-License-Identifier: Apache-2.0
#include "costmodel/lower_bound.h"

#include "costmodel/closed_step_end.h"
#include "costmodel/closed_timer.h"
#include "costmodel/offload_time.h"
#include "costmodel/pipeline_walk.h"
#include "costmodel/rank_states.h"
#include "costmodel/stage_blocks.h"
#include "costmodel/undisturbed.h"
#include "program/schedule.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace orrery::costmodel {
namespace {

class Bound {
 public:
  Bound(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh, const CostModel& cost,
        std::span<const DeviceIndex> device_of_rank)
      : strategy_(strategy),
        num_micro_batches_(batch.global_batch / (mesh.dp() * strategy.micro_batch)),
        undisturbed_(cost),
        timer_(model, strategy, mesh, undisturbed_, device_of_rank),
        step_end_(model, strategy, mesh, timer_),
        blocks_(model, strategy, batch, timer_, StageBlocks::Aim::bound) {
    if (strategy.offload_activations) activations_.emplace(model, strategy, batch, mesh, MemoryModel{});
  }

  Seconds of_step() {
    PipelineTimes times;
    std::vector<StepEndTimes> ends;
    for (std::int64_t rank = 0; rank < strategy_.pp; ++rank) {
      timer_.enter(rank);
      times.push_back(slots_of(rank));
      ends.push_back(step_end_.least_times(stages_on_rank(strategy_, rank)));
    }
    const std::vector<RankWalk> walked = walk_pipeline(strategy_, num_micro_batches_, times);
    Seconds complete, updated, end;
    for (std::size_t r = 0; r < walked.size(); ++r) {
      complete = std::max(complete, walked[r].end + ends[r].gradient_sync);
      updated = std::max(updated, ends[r].update);
      // Whatever runs beside it: a communicator does one thing after the other.
      complete = std::max(complete, std::max(queues_[r], copies_[r]));
      end = std::max(end, walked[r].end + ends[r].states_load + ends[r].update);
    }
    timer_.enter(0);
    return std::max(end, complete + timer_.norm() + updated);
  }

 private:
  std::vector<SlotTimes> slots_of(std::int64_t rank) {
    std::vector<SlotTimes> out;
    Seconds& queue = queues_.emplace_back();
    const double num_slots =
        (strategy_.schedule == Schedule::dualpipe ? 0.5 : 1.0) * static_cast<double>(num_micro_batches_);
    const std::vector<std::int64_t> stages = stages_of(strategy_, rank);
    for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
      const StageLayout& layout = strategy_.stages[static_cast<std::size_t>(stages[chunk])];
      const StageBlocks::Slots stage = blocks_.slots(layout);
      SlotTimes slots = stage.times;
      wait_for_host_at_least(stage.windows, strategy_, slots);
      const Neighbour behind = neighbours_of(strategy_, rank, chunk).behind;
      if (behind == Neighbour::next_rank || behind == Neighbour::previous_rank) {
        slots.message =
            timer_.message(blocks_.message_bytes(strategy_.stages, stages[chunk]), behind == Neighbour::next_rank);
      }
      SlotTimes sharded = slots;
      queue += num_slots * step_end_.shard_slots(layout, sharded).queue;
      out.push_back(slots);
    }
    copies_.emplace_back();
    if (activations_) {
      copies_.back() = num_slots * offload_time(stages_on_rank(strategy_, rank), *activations_, timer_);
    }
    return out;
  }

  const Strategy& strategy_;
  const std::int64_t num_micro_batches_;
  const Undisturbed undisturbed_;
  ClosedTimer timer_;
  ClosedStepEnd step_end_;
  StageBlocks blocks_;
  std::optional<ActivationPeaks> activations_;  // if they are offloaded
  // By rank, over all micro-batches: exchanges of sharded parameters, and copies of activations.
  std::vector<Seconds> queues_, copies_;
};

}  // namespace

Seconds lower_bound(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                    const CostModel& cost, std::span<const DeviceIndex> device_of_rank) {
  return Bound(model, strategy, batch, mesh, cost, device_of_rank).of_step();
}

}  // namespace orrery::costmodel
