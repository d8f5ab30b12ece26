// SPDX-License-Identifier: Apache-2.0
#include "planner/bottleneck_stages.h"

#include "costmodel/rank_states.h"
#include "program/schedule.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <unordered_map>
#include <utility>

namespace orrery::planner {
namespace {

constexpr int kMostRounds = 6;  // of limits that become tighter
constexpr Seconds kNever = Seconds::from_si(std::numeric_limits<double>::infinity());

/// What fits on the ranks of one strategy.
class Fits {
 public:
  Fits(const FamilyContext& context, const Strategy& strategy, StageRanges& ranges, OperatorTable& table)
      : c_(context),
        s_(strategy),
        mesh_(s_, context.num_devices),
        num_micro_batches_(context.batch.global_batch / (mesh_.dp() * s_.micro_batch)),
        memory_model_(context.memory_model),
        ranges_(ranges),
        counts_(context.model, s_),
        limits_(static_cast<std::size_t>(s_.pp), context.limit),
        places_(static_cast<std::size_t>(s_.num_stages())) {
    memory_model_.rho = context.fullest_share.of(s_);
    activations_ = &table.activations(s_, mesh_, memory_model_);
    for (std::int64_t rank = 0; rank < s_.pp; ++rank) {
      const std::vector<std::int64_t> stages = stages_of(s_, rank);
      has_several_ = has_several_ || stages.size() > 1;
      for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
        places_[static_cast<std::size_t>(stages[chunk])].push_back(
            {.rank = rank, .chunk = chunk, .num_chunks = stages.size()});
      }
    }
  }

  bool has_several() const { return has_several_; }

  /// The fastest way that fits, if it takes at most `most`.
  std::optional<Seconds> time(std::int64_t stage, std::int64_t first, std::int64_t end, Seconds most) {
    Cell& cell = cell_of(stage, first, end);
    if (!cell.can_fit) return std::nullopt;
    const auto& choices = ranges_.by_time(first, end, ends_of(stage));
    while (!cell.fits && cell.next < choices.size() && choices[cell.next].time <= most) {
      cell.fits = fits(stage, first, end, choices[cell.next].choice);
      if (!cell.fits) ++cell.next;
    }
    cell.can_fit = cell.next < choices.size();
    if (!cell.fits || choices[cell.next].time > most) return std::nullopt;
    return choices[cell.next].time;
  }

  /// The stage in the way that fits. Requires: it does.
  StageLayout fitting(std::int64_t stage, std::int64_t first, std::int64_t end) {
    StageLayout out = ranges_.layout(first, end, ends_of(stage));
    const auto& choices = ranges_.by_time(first, end, ends_of(stage));
    out.recompute = c_.domains.recompute[choices[cell_of(stage, first, end).next].choice];
    return out;
  }

  Bytes memory(std::int64_t rank, const std::vector<StageLayout>& stages) {
    return memory_with(stages, activations_->of_rank(s_, num_micro_batches_, rank, stages));
  }

  /// Takes what `memory` is above the limit off what the rank may take from now on.
  void tighten(std::int64_t rank, Bytes memory) {
    limits_[static_cast<std::size_t>(rank)] -= memory - c_.limit;
    const std::vector<std::int64_t> stages = stages_of(s_, rank);
    const std::int64_t n = ranges_.num_units() + 1;
    std::erase_if(cells_,
                  [&](const auto& cell) { return std::ranges::find(stages, cell.first / (n * n)) != stages.end(); });
  }

 private:
  /// A stage on a rank; in DualPipe there are two.
  struct Place {
    std::int64_t rank = 0;
    std::size_t chunk = 0, num_chunks = 1;
  };
  /// How far the choices of a range on a stage have been tried.
  struct Cell {
    bool can_fit = true;   // some choice, for all that is known
    bool fits = false;     // the next one
    std::size_t next = 0;  // by time; those before do not fit
  };

  StageRanges::Ends ends_of(std::int64_t stage) const {
    return {.embedding = stage == 0, .head = stage + 1 == s_.num_stages()};
  }

  Cell& cell_of(std::int64_t stage, std::int64_t first, std::int64_t end) {
    const std::int64_t n = ranges_.num_units() + 1;
    const auto [found, is_new] = cells_.try_emplace((stage * n + ranges_.representative(first, end)) * n + end - first);
    // What does not fit without any activations needs no tables of them.
    if (is_new) {
      found->second.can_fit = all_places(stage, [&](const Place& place) {
        return memory_with(with_likes(place, ranges_.layout(first, end, ends_of(stage))), {}) <= limit(place);
      });
    }
    return found->second;
  }

  bool fits(std::int64_t stage, std::int64_t first, std::int64_t end, std::size_t choice) {
    StageLayout layout = ranges_.layout(first, end, ends_of(stage));
    layout.recompute = c_.domains.recompute[choice];
    return all_places(
        stage, [&](const Place& place) { return memory(place.rank, with_likes(place, layout)) <= limit(place); });
  }

  template <class Holds>
  bool all_places(std::int64_t stage, Holds holds) const {
    const std::vector<Place>& places = places_[static_cast<std::size_t>(stage)];
    return std::all_of(places.begin(), places.end(), holds);
  }

  Bytes limit(const Place& place) const { return limits_[static_cast<std::size_t>(place.rank)]; }

  /// The stages of a rank if the layers of all were like those of `layout`; a stage between the ends has one at least.
  std::vector<StageLayout> with_likes(const Place& place, const StageLayout& layout) const {
    StageLayout like = layout;
    like.embedding = like.head = false;
    like.num_mtp = 0;
    if (like.num_layers == 0) {
      like.first_layer = std::min(like.first_layer, c_.model.num_layers() - 1);
      like.num_layers = 1;
    }
    std::vector<StageLayout> stages(place.num_chunks, like);
    stages[place.chunk] = layout;
    return stages;
  }

  Bytes memory_with(const std::vector<StageLayout>& stages, const costmodel::ActivationPeak& peak) {
    const costmodel::RankStates states =
        costmodel::rank_states(c_.model, s_, mesh_, memory_model_.framework, stages, counts_);
    return costmodel::memory_of_rank(c_.model, s_, c_.batch, mesh_, memory_model_, stages, states, peak).total();
  }

  const FamilyContext& c_;
  const Strategy& s_;
  const Mesh mesh_;
  const std::int64_t num_micro_batches_;
  costmodel::MemoryModel memory_model_;
  StageRanges& ranges_;
  costmodel::ElementCounts counts_;
  costmodel::ActivationPeaks* activations_ = nullptr;
  bool has_several_ = false;                // stages on a rank
  std::vector<Bytes> limits_;               // by rank
  std::vector<std::vector<Place>> places_;  // by stage
  std::unordered_map<std::int64_t, Cell> cells_;
};

}  // namespace

const LeastBottleneck& BottleneckStages::cuts_of(std::int64_t num_stages) {
  const auto known = cuts_.find(num_stages);
  if (known != cuts_.end()) return known->second;
  const auto least = [&](std::int64_t stage, std::int64_t first, std::int64_t end) {
    const StageRanges::Ends ends{.embedding = stage == 0, .head = stage + 1 == num_stages};
    return ranges_.is_legal(first, end, ends) ? ranges_.time(first, end, ends) : kNever;
  };
  return cuts_.try_emplace(num_stages, ranges_.num_units(), num_stages, least).first->second;
}

BottleneckStages::Laid BottleneckStages::lay(const Strategy& strategy) {
  Strategy s = strategy;
  s.stages.assign(static_cast<std::size_t>(s.num_stages()), {});
  const LeastBottleneck& cuts = cuts_of(s.num_stages());
  Fits fits(c_, s, ranges_, table_);
  const auto time = [&](std::int64_t stage, std::int64_t first, std::int64_t end, Seconds most) {
    return fits.time(stage, first, end, most);
  };
  for (int round = 0; round < kMostRounds; ++round) {
    const std::vector<std::int64_t> ends = cuts.ends(time);
    if (ends.empty()) return {};
    Laid laid;
    std::int64_t first = 0;
    for (std::size_t stage = 0; stage < ends.size(); ++stage) {
      laid.stages.push_back(fits.fitting(static_cast<std::int64_t>(stage), first, ends[stage]));
      first = ends[stage];
    }
    s.stages = laid.stages;
    bool all_fit = true;
    for (std::int64_t rank = 0; rank < s.pp; ++rank) {
      const Bytes memory = fits.memory(rank, costmodel::stages_on_rank(s, rank));
      laid.memory = std::max(laid.memory, memory);
      if (memory <= c_.limit) continue;
      all_fit = false;
      fits.tighten(rank, memory);
    }
    if (all_fit) return laid;
  }
  return {};
}

StageTimes stage_times(OperatorTable& table, const std::vector<StageLayout>& stages) {
  StageTimes times;
  for (const StageLayout& stage : stages) {
    const Seconds time = time_of_stage(table, stage);
    times.longest = std::max(times.longest, time);
    times.sum += time;
  }
  return times;
}

}  // namespace orrery::planner
