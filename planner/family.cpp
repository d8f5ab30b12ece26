// SPDX-License-Identifier: Apache-2.0
#include "planner/family.h"

#include "costmodel/activation_memory.h"
#include "costmodel/closed_step_end.h"
#include "costmodel/offload_time.h"
#include "costmodel/rank_states.h"
#include "planner/step_bound.h"
#include "program/dimension_rules.h"
#include "program/schedule.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

namespace orrery::planner {
namespace {

using costmodel::ActivationPeak;
using costmodel::RankElements;
using costmodel::RankStates;
using costmodel::StepEndTimes;

constexpr double kRounding = 1e-12;  // of a sum of bytes

struct Rank {
  std::vector<StageLayout> stages;
  std::vector<std::int64_t> indices;
  RankElements elements;
  std::vector<std::vector<StageLayout>> options;  // its stages by choice, made when asked for
  std::vector<std::size_t> by_time;               // choices, the fastest first; empty: not sorted yet
  std::optional<std::size_t> chosen;              // none: no recomputation, whether or not that is a choice
  // Of the sharding at hand:
  RankStates states;
  using Peaks = std::vector<std::optional<ActivationPeak>>;  // by choice
  Peaks* peaks = nullptr;
  Peaks* least_peaks = nullptr;                                 // if nothing were gathered and reduced within slots
  std::map<const costmodel::ActivationPeaks*, Peaks> peaks_of;  // by what is gathered and reduced within slots
};

/// What a number of optimizer instances decides: who shares states, and how long that takes.
struct Sharing {
  Sharing(const FamilyContext& context, const Strategy& s, const costmodel::CostModel& cost)
      : mesh(s, context.num_devices),
        timer(context.model, s, mesh, cost, context.densest),
        step_end(context.model, s, mesh, timer),
        queues(static_cast<std::size_t>(s.pp)) {
    timer.enter(0);
  }

  const Mesh mesh;
  costmodel::ClosedTimer timer;
  costmodel::ClosedStepEnd step_end;
  std::map<std::tuple<std::int64_t, std::int64_t, int, int, bool, bool>, StepEndTimes> ends;
  /// Of a micro-batch on each chunk of each rank, the queues of ZeRO 2 and 3, of dense parameters and of experts.
  using Queues = std::vector<std::optional<Seconds>>;
  std::vector<std::array<std::array<Queues, 2>, 2>> queues;
  /// The same by what a stage holds: layers, those with experts, modules, embedding and head; and ZeRO, dense or not.
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t, bool, bool, int, bool>, Seconds> queue_of_stage;
};

class Family {
 public:
  Family(const FamilyContext& context, const Strategy& strategy, OperatorTable& table, const costmodel::CostModel& cost)
      : c_(context),
        s_(strategy),
        table_(table),
        mesh_(s_, context.num_devices),
        num_micro_batches_(context.batch.global_batch / (mesh_.dp() * s_.micro_batch)),
        cost_(cost),
        timer_(context.model, s_, mesh_, cost, context.densest),
        memory_model_(context.memory_model),
        bound_(s_, num_micro_batches_) {
    memory_model_.rho = context.fullest_share.of(s_);
    for (std::int64_t rank = 0; rank < s_.pp; ++rank) {
      Rank& held = ranks_.emplace_back();
      held.stages = costmodel::stages_on_rank(s_, rank);
      held.indices = stages_of(s_, rank);
      timer_.enter(rank);
      for (std::size_t chunk = 0; chunk < held.stages.size(); ++chunk) {
        bound_.set_stage(static_cast<std::size_t>(rank), chunk, table_.slots(held.stages[chunk]));
        bound_.set_message(held.indices[chunk],
                           costmodel::StageBlocks::message(c_.model, s_, c_.batch, rank, chunk, timer_));
      }
    }
    timer_.enter(0);
  }

  FamilyCounts scan(Seconds cutoff, const std::function<void(Member)>& keep) {
    FamilyCounts counts;
    if (bound_.of_slots() >= cutoff) {
      counts.pruned = 1;
      return counts;
    }
    costmodel::ElementCounts elements(c_.model, s_);
    for (Rank& rank : ranks_) {
      rank.elements = elements.rank(rank.stages);
      rank.options.resize(c_.domains.recompute.size());
      if (c_.domains.recompute.front().empty()) rank.chosen = 0;
    }
    norm_ = timer_.norm();
    // Whoever fits without recomputation gains nothing from offloading.
    bool fits_as_it_is = false;
    for (const int offload : c_.domains.offload_activations) {
      s_.offload_activations = offload != 0;
      if (offload != 0 && fits_as_it_is) continue;
      for (const std::int64_t instances : c_.domains.num_optimizer_instances) {
        if (!share_among(instances)) continue;
        const bool in_slots_only = instances != c_.domains.num_optimizer_instances.front();
        for (const int dense : c_.domains.zero_dense) {
          for (const int expert : c_.domains.zero_expert) {
            if (in_slots_only && dense < 2 && expert < 2) continue;
            for (const int buckets : c_.domains.dp_buckets) {
              if (buckets != 0 && (dense > 1 || expert > 1)) continue;  // they exchange unit by unit already
              s_.zero_dense = dense;
              s_.zero_expert = expert;
              s_.overlap.dp_buckets = buckets != 0;
              if (repeats() || !dimension_violations(c_.model, s_, c_.batch, c_.num_devices).empty()) continue;
              enter_sharding();
              bool fits = false;
              for (const int states : c_.domains.offload_optimizer) {
                s_.offload_optimizer = states != 0;
                if (states == 0 || !fits) fits = evaluate(cutoff, keep, counts) || fits;
              }
              fits_as_it_is = fits_as_it_is || (fits && offload == 0 && dense < 2 && expert < 2);
            }
          }
        }
      }
    }
    return counts;
  }

 private:
  /// Whether all who hold the same parameters can be so many instances.
  bool share_among(std::int64_t instances) {
    if (mesh_.size(Group::dp) % instances != 0 || mesh_.size(Group::edp) % instances != 0) return false;
    s_.num_optimizer_instances = instances;
    std::unique_ptr<Sharing>& sharing = sharings_[instances];
    if (!sharing) sharing = std::make_unique<Sharing>(c_, s_, cost_);
    sharing_ = sharing.get();
    return true;
  }

  /// Whether another way to write the same stands for it.
  bool repeats() const {
    const Domains& d = c_.domains;
    const IdleSharding idle = idle_sharding(sharing_->mesh);
    return (idle.dense && s_.zero_dense != d.zero_dense.front()) ||
           (idle.expert && s_.zero_expert != d.zero_expert.front()) ||
           (idle.buckets && s_.overlap.dp_buckets != (d.dp_buckets.front() != 0));
  }

  /// Activations do not depend on where the optimizer's states are, nor on whether they are sharded.
  void enter_sharding() {
    costmodel::ActivationPeaks* activations = &table_.activations(s_, sharing_->mesh, memory_model_);
    if (activations == activations_) return;
    activations_ = activations;
    Strategy at_end = s_;
    at_end.zero_dense = at_end.zero_expert = 1;
    ungathered_ = &table_.activations(at_end, sharing_->mesh, memory_model_);
    for (Rank& rank : ranks_) {
      for (const costmodel::ActivationPeaks* of : {activations_, ungathered_}) {
        rank.peaks_of[of].resize(c_.domains.recompute.size());
      }
      rank.peaks = &rank.peaks_of[activations_];
      rank.least_peaks = &rank.peaks_of[ungathered_];
    }
  }

  /// What the stages of a rank would be.
  const std::vector<StageLayout>& option(Rank& rank, std::size_t choice) {
    std::vector<StageLayout>& made = rank.options[choice];
    if (!made.empty()) return made;
    made = rank.stages;
    for (StageLayout& stage : made) {
      stage.recompute.insert(c_.domains.recompute[choice].begin(), c_.domains.recompute[choice].end());
    }
    return made;
  }

  /// Whether two ranks have stages that differ in nothing but which layers they are.
  bool are_alike(const Rank& a, const Rank& b) const {
    return std::ranges::equal(a.stages, b.stages, [&](const StageLayout& of_a, const StageLayout& of_b) {
      StageLayout moved = of_b;
      moved.first_layer = of_a.first_layer;
      return moved == of_a && std::equal(c_.model.layers.begin() + of_a.first_layer,
                                         c_.model.layers.begin() + of_a.first_layer + of_a.num_layers,
                                         c_.model.layers.begin() + of_b.first_layer);
    });
  }

  const std::vector<std::size_t>& by_time(Rank& rank) {
    std::vector<std::size_t>& order = rank.by_time;
    if (!order.empty()) return order;
    for (const Rank& other : ranks_) {
      if (c_.model.spans.empty() && !other.by_time.empty() && are_alike(rank, other)) return order = other.by_time;
    }
    std::vector<Seconds> again;  // backwards of a micro-batch on all its stages, by choice
    for (std::size_t choice = 0; choice < c_.domains.recompute.size(); ++choice) {
      Seconds& sum = again.emplace_back();
      for (const StageLayout& stage : option(rank, choice)) sum += table_.slots(stage).times.backward();
      order.push_back(choice);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return again[a] < again[b]; });
    return order;
  }

  /// The choice that takes least: nothing recomputed, where that is one.
  std::size_t fastest(Rank& rank) { return c_.domains.recompute.front().empty() ? 0 : by_time(rank).front(); }

  const ActivationPeak& peak(std::size_t index, std::size_t choice, costmodel::ActivationPeaks& activations,
                             Rank::Peaks& peaks) {
    std::optional<ActivationPeak>& peak = peaks[choice];
    if (!peak) {
      peak =
          activations.of_rank(s_, num_micro_batches_, static_cast<std::int64_t>(index), option(ranks_[index], choice));
    }
    return *peak;
  }

  Bytes memory(std::size_t index, std::size_t choice) {
    Rank& rank = ranks_[index];
    return memory_with(rank, peak(index, choice, *activations_, *rank.peaks));
  }

  /// Whether a choice does not fit even if nothing were gathered and reduced within slots, which only adds. One answer
  /// serves all shardings; what each of them gathers is asked where this leaves a doubt.
  bool cannot_fit(std::size_t index, std::size_t choice) {
    if (activations_ == ungathered_) return false;
    Rank& rank = ranks_[index];
    return memory_with(rank, peak(index, choice, *ungathered_, *rank.least_peaks)) > c_.limit * (1.0 + kRounding);
  }

  Bytes memory_with(const Rank& rank, const ActivationPeak& peak) const {
    return costmodel::memory_of_rank(c_.model, s_, c_.batch, sharing_->mesh, memory_model_, rank.stages, rank.states,
                                     peak)
        .total();
  }

  void choose(std::size_t index, std::size_t choice) {
    Rank& rank = ranks_[index];
    if (std::exchange(rank.chosen, choice) == choice) return;
    const std::vector<StageLayout>& chosen = option(rank, choice);
    for (std::size_t chunk = 0; chunk < chosen.size(); ++chunk) {
      bound_.set_stage(index, chunk, table_.slots(chosen[chunk]));
    }
  }

  /// Times of the end of the step on a rank, looked up by what it holds.
  const StepEndTimes& end_of(const RankElements& e) {
    const auto [found, is_new] = sharing_->ends.try_emplace(
        {e.dense, e.expert, s_.zero_dense, s_.zero_expert, s_.offload_optimizer, s_.overlap.dp_buckets});
    if (!is_new) return found->second;
    const auto buffer = [&](std::int64_t elements, std::int64_t muon, Group shard) {
      const std::int64_t ranks = sharing_->mesh.size(shard);
      return FlatBuffer{
          .elements = elements, .padded = (elements + ranks - 1) / ranks * ranks, .ranks = ranks, .muon = muon};
    };
    return found->second = sharing_->step_end.least_times(buffer(e.dense, e.muon_dense, Group::dp_shard),
                                                          buffer(e.expert, e.muon_expert, Group::edp_shard));
  }

  /// What the busier queue of sharded parameters has to do on a chunk.
  Seconds sharded(std::size_t index, std::size_t chunk) {
    Seconds busier;
    for (const bool dense : {true, false}) {
      const int zero = dense ? s_.zero_dense : s_.zero_expert;
      if (zero < 2) continue;
      const std::vector<StageLayout>& stages = ranks_[index].stages;
      Sharing::Queues& queues = sharing_->queues[index][dense ? 0 : 1][static_cast<std::size_t>(zero - 2)];
      queues.resize(stages.size());
      if (!queues[chunk]) queues[chunk] = queue_of_stage(stages[chunk], zero, dense);
      busier = std::max(busier, *queues[chunk]);
    }
    return busier;
  }

  Seconds queue_of_stage(const StageLayout& stage, int zero, bool dense) {
    const auto first = c_.model.layers.begin() + stage.first_layer;
    const std::int64_t num_moe = std::count(first, first + stage.num_layers, LayerKind::moe);
    const auto [found, is_new] = sharing_->queue_of_stage.try_emplace(
        {stage.num_layers, num_moe, stage.num_mtp, stage.embedding, stage.head, zero, dense});
    if (is_new) found->second = sharing_->step_end.sharded_queue(stage, dense);
    return found->second;
  }

  enum class Fit : std::uint8_t { yes, too_large, too_slow };

  /// Gives a rank the fastest choice that fits, of those with which the step has a bound below `cutoff`. `needed` is
  /// what that one needs, or the least of those that do not fit, which the rank then has.
  Fit recompute(std::size_t index, Seconds cutoff, Bytes& needed) {
    Rank& rank = ranks_[index];
    // What does not fit without any activations needs no tables of them.
    needed = memory_with(rank, {});
    if (needed > c_.limit) return Fit::too_large;
    // Most ranks need to recompute no more than they must.
    const std::size_t first = fastest(rank);
    if (!cannot_fit(index, first)) {
      needed = memory(index, first);
      if (needed <= c_.limit) return Fit::yes;
    }
    bool has_slow = false;
    for (const std::size_t choice : by_time(rank)) {
      choose(index, choice);
      if (bound_.of_step(norm_) >= cutoff) {
        has_slow = true;
        continue;
      }
      if (cannot_fit(index, choice)) continue;
      needed = memory(index, choice);
      if (needed <= c_.limit) return Fit::yes;
    }
    if (has_slow) return Fit::too_slow;
    choose_smallest(index, needed);
    return Fit::too_large;
  }

  /// Gives a rank on which nothing fits what needs least.
  void choose_smallest(std::size_t index, Bytes& needed) {
    Rank& rank = ranks_[index];
    std::size_t smallest = fastest(rank);
    needed = memory(index, smallest);
    for (const std::size_t choice : by_time(rank)) {
      const Bytes needs = memory(index, choice);
      if (needs >= needed) continue;
      needed = needs;
      smallest = choice;
    }
    choose(index, smallest);
  }

  /// The member at hand, with what its ranks recompute.
  Strategy as_chosen() const {
    Strategy strategy = s_;
    for (const Rank& rank : ranks_) {
      const bool is_made = rank.chosen && !rank.options[*rank.chosen].empty();
      const std::vector<StageLayout>& stages = is_made ? rank.options[*rank.chosen] : rank.stages;
      for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
        strategy.stages[static_cast<std::size_t>(rank.indices[chunk])] = stages[chunk];
      }
    }
    return strategy;
  }

  /// Whether the member is known to fit without recomputation.
  bool evaluate(Seconds cutoff, const std::function<void(Member)>& keep, FamilyCounts& counts) {
    ++counts.evaluated;
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      Rank& rank = ranks_[i];
      rank.states = costmodel::rank_states(c_.model, s_, sharing_->mesh, memory_model_.framework, rank.elements);
      choose(i, fastest(rank));
      for (std::size_t chunk = 0; chunk < rank.stages.size(); ++chunk) bound_.set_sharded(i, chunk, sharded(i, chunk));
      const StepEndTimes& end = end_of(rank.elements);
      bound_.set_end(i, end.gradient_sync, end.states_load, end.update);
      bound_.set_queue(i, {});
    }
    if (bound_.of_step(norm_) >= cutoff) return false;

    Fit all = Fit::yes;
    Bytes fullest;
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      Bytes needed;
      const Fit fit = recompute(i, cutoff, needed);
      fullest = std::max(fullest, needed);
      all = std::max(all, fit);
      if (fit == Fit::too_slow) break;
    }
    if (all == Fit::too_slow) return false;
    if (all == Fit::too_large) {
      ++counts.too_large;
      if (counts.smallest == Bytes() || fullest < counts.smallest) {
        counts.smallest = fullest;
        counts.smallest_member = as_chosen();
      }
      return false;
    }
    if (s_.offload_activations) {
      for (std::size_t i = 0; i < ranks_.size(); ++i) {
        const std::vector<StageLayout>& chosen = option(ranks_[i], *ranks_[i].chosen);
        bound_.set_queue(i, costmodel::offload_time(chosen, *activations_, timer_));
      }
    }
    const bool as_it_is =
        std::all_of(ranks_.begin(), ranks_.end(), [&](Rank& rank) { return rank.chosen == fastest(rank); });
    const Seconds bound = bound_.of_step(norm_);
    if (bound < cutoff) keep({.strategy = as_chosen(), .bound = bound, .memory = fullest});
    return as_it_is;
  }

  const FamilyContext& c_;
  Strategy s_;  // the member at hand
  OperatorTable& table_;
  const Mesh mesh_;  // of one instance of the optimizer
  const std::int64_t num_micro_batches_;
  const costmodel::CostModel& cost_;
  costmodel::ClosedTimer timer_;
  costmodel::MemoryModel memory_model_;
  StepBound bound_;
  std::vector<Rank> ranks_;
  costmodel::ActivationPeaks* activations_ = nullptr;  // of the sharding at hand
  costmodel::ActivationPeaks* ungathered_ = nullptr;   // the same as if nothing were exchanged within slots
  Seconds norm_;
  std::map<std::int64_t, std::unique_ptr<Sharing>> sharings_;  // by number of instances
  Sharing* sharing_ = nullptr;                                 // of the sharding at hand
};

}  // namespace

FamilyCounts& FamilyCounts::operator+=(const FamilyCounts& other) {
  pruned += other.pruned;
  evaluated += other.evaluated;
  too_large += other.too_large;
  add_smallest(other);
  return *this;
}

void FamilyCounts::add_smallest(const FamilyCounts& other) {
  if (other.smallest != Bytes() && (smallest == Bytes() || other.smallest < smallest)) {
    smallest = other.smallest;
    smallest_member = other.smallest_member;
  }
}

IdleSharding idle_sharding(const Mesh& mesh) {
  return {.dense = mesh.size(Group::dp_shard) == 1,
          .expert = mesh.size(Group::edp_shard) == 1,
          .buckets = mesh.size(Group::dp) == 1 && mesh.size(Group::edp) == 1};
}

FamilyCounts scan_family(const FamilyContext& context, const Strategy& strategy, OperatorTable& table,
                         const costmodel::CostModel& cost, Seconds cutoff, const std::function<void(Member)>& keep) {
  return Family(context, strategy, table, cost).scan(cutoff, keep);
}

}  // namespace orrery::planner
