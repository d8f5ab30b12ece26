// SPDX-License-Identifier: Apache-2.0
#include "program/mesh.h"

#include "base/check.h"

namespace orrery {

Mesh::Mesh(const Strategy& strategy, std::int64_t world)
    : world_(world),
      tp_(strategy.tp),
      cp_(strategy.cp),
      pp_(strategy.pp),
      etp_(strategy.etp),
      ep_(strategy.ep),
      dp_(world / (strategy.tp * strategy.cp * strategy.pp)),
      edp_(world / (strategy.etp * strategy.ep * strategy.pp)) {
  CHECK(tp_ * cp_ * dp_ * pp_ == world, world, tp_, cp_, pp_);
  CHECK(etp_ * ep_ * edp_ * pp_ == world, world, etp_, ep_, pp_);
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

namespace {

/// A group as an arithmetic progression of ranks: all groups of the default order are one.
struct Progression {
  std::int64_t first, stride, size;
};

}  // namespace

static Progression progression(const Mesh& mesh, Group group, RankId rank, std::int64_t tp, std::int64_t cp,
                               std::int64_t etp) {
  const Coords at = mesh.coords(rank);
  const std::int64_t stage_size = mesh.ranks_per_stage();
  const std::int64_t stage_first = at.pp * stage_size;
  const std::int64_t r = rank.value();
  switch (group) {
    case Group::self:
      return {r, 1, 1};
    case Group::tp:
      return {r - at.tp, 1, tp};
    case Group::cp:
      return {r - at.cp * tp, tp, cp};
    // Dense gradients are summed over cp as well as dp.
    case Group::dp:
      return {stage_first + at.tp, tp, cp * mesh.dp()};
    case Group::etp:
      return {r - at.etp, 1, etp};
    case Group::ep:
      return {r - at.ep * etp, etp, mesh.ep()};
    case Group::edp:
      return {r - at.edp * etp * mesh.ep(), etp * mesh.ep(), mesh.edp()};
    case Group::stage:
      return {stage_first, 1, stage_size};
    case Group::world:
      return {0, 1, mesh.world()};
    case Group::pp_next:
      return {(r + stage_size) % mesh.world(), 1, 1};
    case Group::pp_prev:
      return {(r + mesh.world() - stage_size) % mesh.world(), 1, 1};
  }
  CHECK(false, static_cast<int>(group));
}

std::int64_t Mesh::size(Group group) const {
  if (group == Group::pp_next || group == Group::pp_prev) return 2;
  return progression(*this, group, RankId(0), tp_, cp_, etp_).size;
}

std::vector<RankId> Mesh::members(Group group, RankId rank) const {
  const Progression p = progression(*this, group, rank, tp_, cp_, etp_);
  std::vector<RankId> members;
  members.reserve(static_cast<std::size_t>(p.size));
  for (std::int64_t i = 0; i < p.size; ++i) members.emplace_back(static_cast<std::int32_t>(p.first + i * p.stride));
  return members;
}

std::int64_t Mesh::group_index(Group group, RankId rank) const {
  // The lowest member names a group: two groups of one kind never share a rank.
  return progression(*this, group, rank, tp_, cp_, etp_).first;
}

std::int64_t Mesh::index_in_group(Group group, RankId rank) const {
  const Progression p = progression(*this, group, rank, tp_, cp_, etp_);
  return (rank.value() - p.first) / p.stride;
}

}  // namespace orrery
