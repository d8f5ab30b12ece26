// SPDX-License-Identifier: Apache-2.0
#include "program/mesh.h"

#include "base/check.h"
#include "program/schedule.h"

#include <algorithm>
#include <optional>

namespace orrery {
namespace {

/// The pipeline rank that holds a second copy of the embedding, for prediction modules or a tied head; 0: none needs
/// to, since the first rank holds that stage too.
std::int64_t rank_of_copy(const Strategy& strategy) {
  std::size_t stage = strategy.stages.size() - 1;
  for (std::size_t s = 0; s < strategy.stages.size(); ++s) {
    if (strategy.stages[s].num_mtp > 0) stage = s;
  }
  for (std::int64_t rank = 0; rank < strategy.pp; ++rank) {
    for (const std::int64_t held : stages_of(strategy, rank)) {
      if (static_cast<std::size_t>(held) == stage) return rank;
    }
  }
  return 0;
}

}  // namespace

Mesh::Mesh(const Strategy& strategy, std::int64_t world)
    : world_(world),
      tp_(strategy.tp),
      cp_(strategy.cp),
      pp_(strategy.pp),
      etp_(strategy.etp),
      ep_(strategy.ep),
      dp_(world / (strategy.tp * strategy.cp * strategy.pp)),
      edp_(world / (strategy.etp * strategy.ep * strategy.pp)),
      instances_(strategy.num_optimizer_instances),
      bidirectional_(strategy.schedule == Schedule::dualpipe),
      copy_rank_(strategy.stages.empty() ? 0 : rank_of_copy(strategy)) {
  CHECK(tp_ * cp_ * dp_ * pp_ == world, world, tp_, cp_, pp_);
  CHECK(etp_ * ep_ * edp_ * pp_ == world, world, etp_, ep_, pp_);
  CHECK(instances_ >= 1 && (!bidirectional_ || pp_ % 2 == 0), instances_, pp_);
}

Coords Mesh::coords(RankId rank) const {
  CHECK(rank.value() >= 0 && rank.value() < world_, rank.value(), world_);
  const std::int64_t stage_size = ranks_per_stage();
  const std::int64_t inner = rank.value() % stage_size;
  return {
      .tp = inner % tp_,
      .cp = inner / tp_ % cp_,
      .dp = inner / (tp_ * cp_),
      .pp = rank.value() / stage_size,
      .etp = inner % etp_,
      .ep = inner / etp_ % ep_,
      .edp = inner / (etp_ * ep_),
  };
}

/// Members of a group: an arithmetic progression of ranks, as all groups of the default order are one, and, where
/// two pipeline ranks hold the same stages, a second one `mirror` ranks further.
struct Mesh::Members {
  std::int64_t first = 0, stride = 1, half_size = 1;
  std::int64_t mirror = 0;  // 0: there is no second half

  std::int64_t size() const { return mirror == 0 ? half_size : 2 * half_size; }
  std::int64_t at(std::int64_t i) const {
    return i < half_size ? first + i * stride : first + mirror + (i - half_size) * stride;
  }
  std::int64_t index_of(std::int64_t rank) const {
    const bool second = mirror != 0 && rank >= first + mirror;
    return second ? half_size + (rank - first - mirror) / stride : (rank - first) / stride;
  }
};

std::int64_t Mesh::half_size(Group group) const {
  switch (group) {
    case Group::self:
    case Group::pp_next:
    case Group::pp_prev:
      return 1;
    case Group::tp:
      return tp_;
    case Group::cp:
      return cp_;
    case Group::dp:  // dense gradients are summed over cp as well as dp
      return cp_ * dp_;
    case Group::etp:
      return etp_;
    case Group::ep:
      return ep_;
    case Group::edp:
      return edp_;
    case Group::embedding:
      return copy_rank_ > 0 ? 2 : 1;
    case Group::stage:
      return ranks_per_stage();
    case Group::world:
      return world_;
    case Group::dp_shard:
    case Group::dp_replica:
    case Group::edp_shard:
    case Group::edp_replica:
      break;
  }
  CHECK(false, static_cast<int>(group));
}

Mesh::Members Mesh::members_of(Group group, RankId rank) const {
  const Coords at = coords(rank);
  const std::int64_t stage_size = ranks_per_stage();
  const std::int64_t stage_first = at.pp * stage_size;
  const std::int64_t r = rank.value();
  // The lower of the two pipeline ranks with this one's stages, and how far the other is.
  const std::int64_t lower = bidirectional_ ? std::min(at.pp, pp_ - 1 - at.pp) : at.pp;
  const std::int64_t lower_first = lower * stage_size;
  const std::int64_t mirror = bidirectional_ ? (pp_ - 1 - 2 * lower) * stage_size : 0;
  const std::int64_t half = half_size(group);
  switch (group) {
    case Group::self:
      return {.first = r};
    case Group::tp:
      return {.first = r - at.tp, .half_size = half};
    case Group::cp:
      return {.first = r - at.cp * tp_, .stride = tp_, .half_size = half};
    case Group::dp:
      return {.first = lower_first + at.tp, .stride = tp_, .half_size = half, .mirror = mirror};
    case Group::etp:
      return {.first = r - at.etp, .half_size = half};
    case Group::ep:
      return {.first = r - at.ep * etp_, .stride = etp_, .half_size = half};
    case Group::edp:
      return {.first = lower_first + at.etp + at.ep * etp_, .stride = etp_ * ep_, .half_size = half, .mirror = mirror};
    case Group::embedding:
      return {.first = r % stage_size, .stride = copy_rank_ * stage_size, .half_size = half};
    case Group::stage:
      return {.first = stage_first, .half_size = half};
    case Group::world:
      return {.first = 0, .half_size = half};
    case Group::pp_next:
      return {.first = (r + stage_size) % world_};
    case Group::pp_prev:
      return {.first = (r + world_ - stage_size) % world_};
    case Group::dp_shard:
    case Group::dp_replica:
    case Group::edp_shard:
    case Group::edp_replica:
      break;
  }
  CHECK(false, static_cast<int>(group));
}

namespace {

/// The group whose instances hybrid sharding makes, and whether the instance or its replicas are meant.
struct Sharded {
  Group whole = Group::dp;
  bool replica = false;
};

std::optional<Sharded> sharded(Group group) {
  if (group == Group::dp_shard || group == Group::dp_replica) return Sharded{Group::dp, group == Group::dp_replica};
  if (group == Group::edp_shard || group == Group::edp_replica) return Sharded{Group::edp, group == Group::edp_replica};
  return std::nullopt;
}

}  // namespace

std::int64_t Mesh::size(Group group) const {
  if (group == Group::pp_next || group == Group::pp_prev) return 2;
  if (const auto part = sharded(group)) return part->replica ? instances_ : size(part->whole) / instances_;
  const bool has_mirror = bidirectional_ && (group == Group::dp || group == Group::edp);
  return has_mirror ? 2 * half_size(group) : half_size(group);
}

std::vector<RankId> Mesh::members(Group group, RankId rank) const {
  std::vector<RankId> members;
  if (const auto part = sharded(group)) {
    const Members whole = members_of(part->whole, rank);
    const std::int64_t shard = whole.size() / instances_, index = whole.index_of(rank.value());
    const std::int64_t first = part->replica ? index % shard : index / shard * shard,
                       stride = part->replica ? shard : 1;
    for (std::int64_t i = 0; i < size(group); ++i) {
      members.emplace_back(static_cast<std::int32_t>(whole.at(first + i * stride)));
    }
    return members;
  }
  const Members all = members_of(group, rank);
  members.reserve(static_cast<std::size_t>(all.size()));
  for (std::int64_t i = 0; i < all.size(); ++i) members.emplace_back(static_cast<std::int32_t>(all.at(i)));
  return members;
}

bool Mesh::spans_pipeline_ranks(Group group) const {
  switch (group) {
    case Group::self:
    case Group::tp:
    case Group::cp:
    case Group::ep:
    case Group::etp:
    case Group::stage:
      return false;
    case Group::dp:
    case Group::edp:
      return bidirectional_;
    case Group::dp_shard:
    case Group::edp_shard:
      return bidirectional_ && instances_ % 2 == 1;  // an even number cuts between the two pipeline ranks
    case Group::dp_replica:
    case Group::edp_replica:
      return bidirectional_ && instances_ > 1;
    case Group::embedding:
      return copy_rank_ > 0;
    case Group::world:
    case Group::pp_next:
    case Group::pp_prev:
      return pp_ > 1;
  }
  return false;
}

std::int64_t Mesh::group_index(Group group, RankId rank) const {
  // The first member names a group: two groups of one kind never share a rank.
  if (const auto part = sharded(group)) {
    const Members whole = members_of(part->whole, rank);
    const std::int64_t shard = whole.size() / instances_, index = whole.index_of(rank.value());
    return whole.at(part->replica ? index % shard : index / shard * shard);
  }
  return members_of(group, rank).first;
}

std::int64_t Mesh::index_in_group(Group group, RankId rank) const {
  if (const auto part = sharded(group)) {
    const Members whole = members_of(part->whole, rank);
    const std::int64_t shard = whole.size() / instances_, index = whole.index_of(rank.value());
    return part->replica ? index / shard : index % shard;
  }
  return members_of(group, rank).index_of(rank.value());
}

}  // namespace orrery
