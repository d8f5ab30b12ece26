// SPDX-License-Identifier: Apache-2.0
#include "costmodel/lower_bound.h"

#include "costmodel/closed_step_end.h"
#include "costmodel/closed_timer.h"
#include "costmodel/offload_time.h"
#include "costmodel/pipeline_walk.h"
#include "costmodel/rank_states.h"
#include "costmodel/rank_work.h"
#include "costmodel/stage_blocks.h"
#include "program/schedule.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace orrery::costmodel {
namespace {

class Bound {
 public:
  Bound(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh, const CostModel& cost,
        std::span<const DeviceIndex> device_of_rank, PieceTimes* pieces)
      : model_(model),
        strategy_(strategy),
        batch_(batch),
        num_micro_batches_(batch.global_batch / (mesh.dp() * strategy.micro_batch)),
        num_slots_(slots_per_stage(strategy, num_micro_batches_)),
        timer_(model, strategy, mesh, cost, device_of_rank),
        step_end_(model, strategy, mesh, timer_),
        blocks_(model, strategy, batch, timer_, StageBlocks::Aim::bound, pieces) {
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
      const Seconds slots_end = std::max(walked[r].end, walked[r].begin + work_[r].slots());
      complete =
          std::max({complete, slots_end + ends[r].gradient_sync, walked[r].begin + work_[r].slots_and_reductions()});
      updated = std::max(updated, ends[r].update);
      // Whatever runs beside it: a communicator does one thing after the other.
      complete = std::max(complete, num_slots_ * queues_[r]);
      end = std::max(end, slots_end + ends[r].states_load + ends[r].update);
    }
    timer_.enter(0);
    return std::max(end, complete + timer_.norm() + updated);
  }

 private:
  std::vector<SlotTimes> slots_of(std::int64_t rank) {
    std::vector<SlotTimes> out;
    const std::vector<StageLayout> stages = stages_on_rank(strategy_, rank);
    Seconds exchanges;
    RankWork& work = work_.emplace_back(num_slots_);
    std::vector<SlotsAlone> alone(stages.size(), {num_slots_, num_slots_});
    if (runs_pairs(strategy_)) alone = slots_alone(strategy_, num_micro_batches_, rank);
    for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
      const Slots slots = blocks_.slots(stages[chunk]);
      // What is sharded counts as a queue alone: slots may hide it.
      const Seconds sharded =
          std::max(step_end_.sharded_queue(stages[chunk], true), step_end_.sharded_queue(stages[chunk], false));
      exchanges += sharded;
      work.add(slots, sharded, alone[chunk]);
      out.push_back(slots.times);
      out.back().message = StageBlocks::message(model_, strategy_, batch_, rank, chunk, timer_);
    }
    const Seconds copies = activations_ ? offload_time(stages, *activations_, timer_) : Seconds();
    queues_.push_back(std::max(exchanges, copies));
    return out;
  }

  const Model& model_;
  const Strategy& strategy_;
  const BatchShape& batch_;
  const std::int64_t num_micro_batches_;
  const double num_slots_;  // of each stage
  ClosedTimer timer_;
  ClosedStepEnd step_end_;
  StageBlocks blocks_;
  std::optional<ActivationPeaks> activations_;  // if they are offloaded
  std::vector<RankWork> work_;                  // by rank
  std::vector<Seconds> queues_;                 // by rank: of sharded parameters or of copies, of one micro-batch
};

}  // namespace

Seconds lower_bound(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                    const CostModel& cost, std::span<const DeviceIndex> device_of_rank, PieceTimes* pieces) {
  return Bound(model, strategy, batch, mesh, cost, device_of_rank, pieces).of_step();
}

}  // namespace orrery::costmodel
