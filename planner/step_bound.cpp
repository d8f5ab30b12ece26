// SPDX-License-Identifier: Apache-2.0
#include "planner/step_bound.h"

#include "costmodel/rank_work.h"
#include "program/schedule.h"

#include <algorithm>

namespace orrery::planner {

using costmodel::Slots;
using costmodel::SlotTimes;

namespace {

/// Whether some input gradients have slots of their own.
bool splits(const Strategy& s) {
  return s.schedule != Schedule::gpipe && s.schedule != Schedule::one_f_one_b && s.schedule != Schedule::interleaved;
}

}  // namespace

StepBound::StepBound(const Strategy& strategy, std::int64_t num_micro_batches)
    : splits_(splits(strategy)),
      num_stages_(strategy.num_stages()),
      slots_per_stage_(slots_per_stage(strategy, num_micro_batches)),
      messages_(static_cast<std::size_t>(num_stages_)),
      ends_(static_cast<std::size_t>(strategy.pp)),
      queues_(ends_.size()) {
  for (std::int64_t rank = 0; rank < strategy.pp; ++rank) {
    Rank& held =
        ranks_.emplace_back(Rank{.stages = stages_of(strategy, rank), .slots = {}, .sharded = {}, .alone = {}});
    held.slots.resize(held.stages.size());
    held.sharded.resize(held.stages.size());
    held.alone.assign(held.stages.size(), {slots_per_stage_, slots_per_stage_});
    if (runs_pairs(strategy)) held.alone = costmodel::slots_alone(strategy, num_micro_batches, rank);
  }
}

void StepBound::set_stage(std::size_t rank, std::size_t chunk, const Slots& slots) {
  ranks_[rank].slots[chunk] = slots;
  ranks_[rank].sums.reset();
  slots_end_.clear();
}

const StepBound::Sums& StepBound::sums_of(Rank& rank) const {
  if (rank.sums) return *rank.sums;
  costmodel::RankWork work(slots_per_stage_);
  Seconds urgent;
  for (std::size_t chunk = 0; chunk < rank.slots.size(); ++chunk) {
    const Slots& slots = rank.slots[chunk];
    const costmodel::SlotsAlone& alone = rank.alone[chunk];
    work.add(slots, rank.sharded[chunk], alone);
    urgent += slots_per_stage_ * (slots.times.forward + slots.times.input_grad) -
              (slots_per_stage_ - alone.forwards) * slots.waited_exchanges.forward -
              (slots_per_stage_ - alone.backwards) * slots.waited_exchanges.backward;
  }
  return rank.sums.emplace(Sums{.slots = work.slots(), .reduced = work.slots_and_reductions(), .urgent = urgent});
}

const std::vector<Seconds>& StepBound::slots_end() const {
  if (!slots_end_.empty()) return slots_end_;
  const auto n = static_cast<std::size_t>(num_stages_);
  // The first micro-batch on its way down and the last gradient on its way up, by stage that they reach and leave.
  std::vector<Seconds>&down = down_, &up = up_;
  down.assign(n + 1, {});
  up.assign(n + 1, {});
  std::vector<const SlotTimes*> of_stage(n);
  for (const Rank& rank : ranks_) {
    for (std::size_t chunk = 0; chunk < rank.slots.size(); ++chunk) {
      const auto stage = static_cast<std::size_t>(rank.stages[chunk]);
      // Of two ranks that hold a stage, the one that recomputes less.
      const SlotTimes& times = rank.slots[chunk].times;
      if (of_stage[stage] == nullptr || times.backward() < of_stage[stage]->backward()) of_stage[stage] = &times;
    }
  }
  for (std::size_t s = 0; s < n; ++s) {
    const SlotTimes& slots = *of_stage[s];
    down[s + 1] = down[s] + slots.forward + messages_[s];
    const Seconds backward = splits_ ? slots.input_grad : slots.backward();
    up[s + 1] = up[s] + messages_[s] + std::max(Seconds(), backward - slots.lead);
  }

  std::vector<Seconds>& out = slots_end_;
  reduced_.clear();
  Seconds first_stage;  // when the last gradient has reached it
  for (Rank& rank : ranks_) {
    const Sums& sums = sums_of(rank);
    Seconds begin = down[static_cast<std::size_t>(rank.stages.front())], to_first;
    bool is_first = true;
    for (std::size_t chunk = 0; chunk < rank.slots.size(); ++chunk) {
      const auto stage = static_cast<std::size_t>(rank.stages[chunk]);
      begin = std::min(begin, down[stage]);
      to_first = is_first ? up[stage] : std::min(to_first, up[stage]);
      is_first = false;
    }
    out.push_back(begin + sums.slots);
    reduced_.push_back(begin + sums.reduced);
    const Seconds last = splits_ ? begin + std::max(Seconds(), sums.urgent) : out.back();
    first_stage = std::max(first_stage, last + to_first);
  }
  // Whoever holds the first stage; in DualPipe two do, and the gradient of one half reaches each.
  Seconds* least = nullptr;
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    if (std::find(ranks_[r].stages.begin(), ranks_[r].stages.end(), 0) == ranks_[r].stages.end()) continue;
    if (least == nullptr || out[r] > *least) least = &out[r];
  }
  if (least != nullptr) *least = std::max(*least, first_stage);
  return out;
}

Seconds StepBound::of_slots() const {
  Seconds latest;
  for (const Seconds end : slots_end()) latest = std::max(latest, end);
  return latest;
}

Seconds StepBound::of_step(Seconds norm) const {
  const std::vector<Seconds>& ends = slots_end();
  Seconds complete, update, all;
  for (std::size_t r = 0; r < ends.size(); ++r) {
    complete = std::max({complete, ends[r] + ends_[r].sync, reduced_[r], queues_[r]});
    update = std::max(update, ends_[r].update);
    all = std::max(all, ends[r] + ends_[r].load + ends_[r].update);
  }
  return std::max(all, complete + norm + update);
}

}  // namespace orrery::planner
