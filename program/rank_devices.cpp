// SPDX-License-Identifier: Apache-2.0
#include "program/rank_devices.h"

#include "base/check.h"

#include <algorithm>
#include <numeric>
#include <set>

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

std::vector<std::string_view> other_orders(const Strategy& strategy, std::int64_t world,
                                           std::span<const std::string_view> orders) {
  std::vector<std::string_view> others;
  if (strategy.pp == 1) return others;
  std::set<std::int64_t> blocks{block_of_stage(strategy, world)};
  Strategy other = strategy;
  for (const std::string_view order : orders) {
    other.order = order;
    if (blocks.insert(block_of_stage(other, world)).second) others.push_back(order);
  }
  return others;
}

RankDevices::RankDevices(const Strategy& strategy, std::int64_t world, std::span<const DeviceIndex> listed)
    : listed_(listed), stage_size_(world / strategy.pp), block_(stage_size_), pp_(strategy.pp) {
  CHECK(listed.empty() || static_cast<std::int64_t>(listed.size()) == world, listed.size(), world);
  if (listed.empty()) block_ = block_of_stage(strategy, world);
}

DeviceIndex RankDevices::of(RankId rank) const {
  if (!listed_.empty()) return listed_[rank.index()];
  if (block_ == stage_size_) return DeviceIndex(rank.value());
  const std::int64_t stage = rank.value() / stage_size_, inner = rank.value() % stage_size_;
  const std::int64_t device = (inner / block_ * pp_ + stage) * block_ + inner % block_;
  return DeviceIndex(static_cast<std::int32_t>(device));
}

}  // namespace orrery
