// SPDX-License-Identifier: Apache-2.0
#include "planner/replan/shard_move.h"

#include "base/check.h"
#include "base/parallel.h"
#include "program/flat_buffer.h"

#include <algorithm>
#include <set>
#include <utility>

namespace orrery::planner {
namespace {

constexpr std::int64_t kBiasBytes = 4;  // selection biases are f32

/// Goes through two lists by tensor: `of(tensor)` are the boxes of the second one, in calls with growing tensors.
class ByTensor {
 public:
  explicit ByTensor(std::span<const HeldBox> boxes) : boxes_(boxes) {}

  std::span<const HeldBox> of(std::int64_t tensor) {
    if (first_ < boxes_.size() && boxes_[first_].tensor < tensor) {
      const auto first = std::lower_bound(boxes_.begin() + static_cast<std::ptrdiff_t>(first_), boxes_.end(), tensor,
                                          [](const HeldBox& held, std::int64_t t) { return held.tensor < t; });
      first_ = static_cast<std::size_t>(first - boxes_.begin());
    }
    last_ = std::max(first_, last_);
    while (last_ < boxes_.size() && boxes_[last_].tensor <= tensor) ++last_;
    return boxes_.subspan(first_, last_ - first_);
  }

 private:
  std::span<const HeldBox> boxes_;
  std::size_t first_ = 0, last_ = 0;
};

bool meet(const Box& a, const Box& b) {
  return a.row < b.row + b.rows && b.row < a.row + a.rows && a.col < b.col + b.cols && b.col < a.col + a.cols;
}

bool contains(const Box& a, const Box& b) {
  return a.row <= b.row && b.row + b.rows <= a.row + a.rows && a.col <= b.col && b.col + b.cols <= a.col + a.cols;
}

/// What of `boxes` none of `taken` covers; both sorted by tensor, and so is what is left.
std::vector<HeldBox> without(std::span<const HeldBox> boxes, std::span<const HeldBox> taken) {
  std::vector<HeldBox> out;
  ByTensor others(taken);
  std::vector<Box> meeting;
  for (const HeldBox& held : boxes) {
    meeting.clear();
    bool is_covered = false;
    for (const HeldBox& other : others.of(held.tensor)) {
      is_covered = is_covered || contains(other.box, held.box);
      if (meet(other.box, held.box)) meeting.push_back(other.box);
    }
    if (is_covered) continue;
    if (meeting.empty()) {
      out.push_back(held);
      continue;
    }
    for (const Box& rest : orrery::without(held.box, meeting)) out.push_back({held.tensor, held.kind, rest});
  }
  return out;
}

}  // namespace

StateBytes& StateBytes::operator+=(const StateBytes& other) {
  weights += other.weights;
  masters += other.masters;
  moments += other.moments;
  return *this;
}

StateBytes StateBytes::operator-(const StateBytes& other) const {
  return {.weights = weights - other.weights, .masters = masters - other.masters, .moments = moments - other.moments};
}

StateBytes ShardMove::received() const {
  StateBytes sum;
  for (const RankMove& move : of_rank) (sum += move.inside) += move.outside;
  return sum;
}

StateBytes ShardMove::from_checkpoint() const {
  StateBytes sum;
  for (const RankMove& move : of_rank) sum += move.from_checkpoint;
  return sum;
}

RankId ShardMove::busiest() const {
  const auto total = [](const RankMove& move) { return move.inside.total() + move.outside.total(); };
  const auto most = std::max_element(of_rank.begin(), of_rank.end(),
                                     [&](const RankMove& a, const RankMove& b) { return total(a) < total(b); });
  return RankId(static_cast<std::int32_t>(most - of_rank.begin()));
}

ShardMover::ShardMover(const Cluster& cluster, const Holdings& before, std::span<const DeviceIndex> device_of_rank,
                       const std::vector<bool>& lost)
    : cluster_(cluster), before_(before) {
  CHECK(static_cast<std::int64_t>(device_of_rank.size()) == before.world() && lost.size() == device_of_rank.size(),
        device_of_rank.size(), lost.size(), before.world());
  for (std::size_t rank = 0; rank < lost.size(); ++rank) {
    if (lost[rank]) continue;
    const RankId id(static_cast<std::int32_t>(rank));
    left_in_domain_[cluster.locate(device_of_rank[rank]).domain].emplace_back(device_of_rank[rank], id);
  }
  for (std::size_t list = 0; list < lost_.size(); ++list) find_lost(list, lost);
}

/// Of ranks that hold the same, one stands for all. Of those that are left, only the ones are asked that can hold what
/// is missing.
void ShardMover::find_lost(std::size_t list, const std::vector<bool>& lost) {
  std::map<Holdings::Place, RankId> lost_ranks, left_ranks;
  for (std::size_t rank = 0; rank < lost.size(); ++rank) {
    const RankId id(static_cast<std::int32_t>(rank));
    (lost[rank] ? lost_ranks : left_ranks).try_emplace(before_.place_of(id, list), id);
  }
  std::erase_if(lost_ranks, [&](const auto& rank) { return left_ranks.contains(rank.first); });
  std::vector<HeldBox>& missing = lost_[list];
  std::set<std::pair<std::int64_t, std::int64_t>> shards;
  for (const auto& [place, rank] : lost_ranks) {
    shards.emplace(place.ep, place.shard);
    // Each element once, whoever of the lost ranks held it.
    const std::vector<HeldBox> fresh = without(before_.of(rank, list), missing);
    missing.insert(missing.end(), fresh.begin(), fresh.end());
    std::stable_sort(missing.begin(), missing.end(),
                     [](const HeldBox& a, const HeldBox& b) { return a.tensor < b.tensor; });
  }
  for (const auto& [place, rank] : left_ranks) {
    if (missing.empty()) return;
    // Selection biases, among dense weights, are whole on every rank of their stage.
    if (list == 0 || shards.contains({place.ep, place.shard})) missing = without(missing, before_.of(rank, list));
  }
  for (const HeldBox& held : missing) lost_alone_ += bytes_of(list, held.kind, held.box.size());
}

StateBytes ShardMover::bytes_of(std::size_t list, StateKind kind, std::int64_t elements) const {
  const Strategy& s = before_.strategy();
  const auto of = [&](std::int64_t each) { return bytes(static_cast<double>(elements * each)); };
  if (kind == StateKind::buffer) return {.weights = of(kBiasBytes)};
  if (!is_states(list)) return {.weights = of(size_of(compute_dtype(s)))};
  const std::int64_t moments = kind == StateKind::one_moment ? 1 : 2;
  return {.masters = of(has_master(s) ? size_of(s.master_dtype) : 0), .moments = of(moments * size_of(s.moment_dtype))};
}

ShardMove ShardMover::move_to(const Holdings& after, std::span<const DeviceIndex> device_of_rank) const {
  CHECK(static_cast<std::int64_t>(device_of_rank.size()) == after.world(), device_of_rank.size(), after.world());
  ShardMove move;
  move.of_rank.resize(device_of_rank.size());
  // Ranks of one domain look at the same neighbours.
  std::map<std::int64_t, std::vector<RankId>> domains;
  for (std::size_t rank = 0; rank < device_of_rank.size(); ++rank) {
    domains[cluster_.locate(device_of_rank[rank]).domain].emplace_back(static_cast<std::int32_t>(rank));
  }
  const std::vector<std::pair<std::int64_t, std::vector<RankId>>> all(domains.begin(), domains.end());
  parallel_for(static_cast<std::int64_t>(all.size()), [&](std::int64_t index, int) {
    const auto& [domain, ranks] = all[static_cast<std::size_t>(index)];
    for (std::size_t list = 0; list < Held().size(); ++list)
      move_list(list, domain, ranks, after, device_of_rank, move);
  });
  return move;
}

void ShardMover::move_list(std::size_t list, std::int64_t domain, std::span<const RankId> ranks, const Holdings& after,
                           std::span<const DeviceIndex> device_of_rank, ShardMove& move) const {
  // What each device of the domain had, and all of them together.
  std::map<DeviceIndex, std::vector<HeldBox>> had;
  std::vector<HeldBox> together;
  if (const auto devices = left_in_domain_.find(domain); devices != left_in_domain_.end()) {
    std::set<Holdings::Place> places;
    for (const auto& [device, rank] : devices->second) {
      const std::vector<HeldBox>& held = had[device] = before_.of(rank, list);
      if (places.insert(before_.place_of(rank, list)).second) {
        together.insert(together.end(), held.begin(), held.end());
      }
    }
  }
  std::stable_sort(together.begin(), together.end(),
                   [](const HeldBox& a, const HeldBox& b) { return a.tensor < b.tensor; });
  const auto count = [&](std::span<const HeldBox> boxes) {
    StateBytes sum;
    for (const HeldBox& held : boxes) sum += bytes_of(list, held.kind, held.box.size());
    return sum;
  };
  for (const RankId rank : ranks) {
    RankMove& of_rank = move.of_rank[rank.index()];
    std::vector<HeldBox> missing = after.of(rank, list);
    if (const auto self = had.find(device_of_rank[rank.index()]); self != had.end()) {
      missing = without(missing, self->second);
    }
    // What one source after the other takes away is counted where it comes from.
    const auto take = [&](std::span<const HeldBox> source, StateBytes& out) {
      if (missing.empty()) return;
      std::vector<HeldBox> rest = without(missing, source);
      out += count(missing) - count(rest);
      missing = std::move(rest);
    };
    take(together, of_rank.inside);
    take(lost_[list], of_rank.from_checkpoint);
    of_rank.outside += count(missing);
  }
}

}  // namespace orrery::planner
