// SPDX-License-Identifier: Apache-2.0
#include "program/rank_devices.h"

#include "base/check.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace orrery {

bool is_rank_order(std::string_view order) { return std::ranges::find(kRankOrders, order) != kRankOrders.end(); }

std::int64_t block_of_stage(const Strategy& strategy, std::int64_t world) {
  CHECK(is_rank_order(strategy.order), strategy.order);
  std::int64_t attention = 1, experts = 1;
  for (std::string_view rest = strategy.order; !rest.starts_with("pp"); rest.remove_prefix(3)) {
    if (rest.starts_with("dp")) return world / strategy.pp;
    if (rest.starts_with("tp")) attention *= strategy.tp, experts *= strategy.etp;
    if (rest.starts_with("cp")) attention *= strategy.cp;
    if (rest.starts_with("ep")) experts *= strategy.ep;
  }
  return std::lcm(attention, experts);  // both divide a stage
}

CopiesOfExperts copies_of_experts(const Strategy& strategy, std::int64_t world) {
  CHECK(is_rank_order(strategy.order), strategy.order);
  if (strategy.order.find("dp") > strategy.order.find("ep")) return {};
  const std::int64_t attention = strategy.tp * strategy.cp;
  const std::int64_t block = std::lcm(attention, strategy.etp);
  CHECK(block > 0, block);
  const std::int64_t reach = std::lcm(attention, strategy.etp * strategy.ep) / block;
  CHECK(reach > 0, reach);
  const std::int64_t num_copies = world / strategy.pp / (block * reach);
  if (reach == 1 || num_copies == 1) return {};
  return {.block = block, .reach = reach, .num_copies = num_copies};
}

std::vector<std::string_view> other_orders(const Strategy& strategy, std::int64_t world,
                                           std::span<const std::string_view> orders) {
  std::vector<std::string_view> others;
  std::vector<std::pair<std::int64_t, CopiesOfExperts>> known;
  const auto is_new = [&](const Strategy& s) {
    const std::pair lay(s.pp == 1 ? world : block_of_stage(s, world), copies_of_experts(s, world));
    if (std::ranges::find(known, lay) != known.end()) return false;
    known.push_back(lay);
    return true;
  };
  is_new(strategy);
  Strategy other = strategy;
  for (const std::string_view order : orders) {
    other.order = order;
    if (is_new(other)) others.push_back(order);
  }
  return others;
}

RankDevices::RankDevices(const Strategy& strategy, std::int64_t world, std::span<const DeviceIndex> listed)
    : listed_(listed), stage_size_(world / strategy.pp), block_(stage_size_), pp_(strategy.pp) {
  CHECK(listed.empty() || static_cast<std::int64_t>(listed.size()) == world, listed.size(), world);
  if (!listed.empty()) return;
  block_ = block_of_stage(strategy, world);
  copies_ = copies_of_experts(strategy, world);
}

std::int64_t RankDevices::place_in_stage(std::int64_t inner) const {
  if (copies_.num_copies == 1) return inner;
  const std::int64_t block = inner / copies_.block;
  const std::int64_t copy = block / copies_.reach, part = block % copies_.reach;
  return (part * copies_.num_copies + copy) * copies_.block + inner % copies_.block;
}

DeviceIndex RankDevices::of(RankId rank) const {
  if (!listed_.empty()) return listed_[rank.index()];
  const std::int64_t stage = rank.value() / stage_size_, inner = place_in_stage(rank.value() % stage_size_);
  const std::int64_t device = (inner / block_ * pp_ + stage) * block_ + inner % block_;
  return DeviceIndex(static_cast<std::int32_t>(device));
}

}  // namespace orrery
