// SPDX-License-Identifier: Apache-2.0
// Which device each rank is on. Ranks are numbered stage by stage (mesh.h); a device is another thing. Devices near
// each other have fast links, so what the order of a strategy decides is which dimension lies inside a node, and below
// a leaf.
//
// An order names the fastest-varying dimension first. It changes no op: under every one a program is the same. In
// "tp-cp-ep-dp-pp" a whole stage lies side by side; with "pp" further ahead only a block of it does, then the same
// block of the next stage, and after the last stage the next blocks:
//     2 stages of 4 ranks, tp 2:  tp-cp-ep-dp-pp  0 0 0 0 1 1 1 1  (stage on each device)
//                                 tp-pp-cp-ep-dp  0 0 1 1 0 0 1 1
//                                 pp-tp-cp-ep-dp  0 1 0 1 0 1 0 1
// So neighbours in a pipeline come nearer and data-parallel ranks move apart. With "dp" ahead of "ep" the ranks that
// hold the same experts lie side by side, as far as ranks of one TP and CP group do not, and those of one EP group lie
// apart: a copy of it on each rail of its nodes.
//     1 stage of 8 ranks, tp 2, ep 4:  tp-cp-ep-dp-pp  0 0 0 0 1 1 1 1  (EP group of each device)
//                                      tp-cp-dp-ep-pp  0 0 1 1 0 0 1 1
#pragma once

#include "program/cluster.h"
#include "program/mesh.h"
#include "program/strategy.h"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace orrery {

/// Every order that there is, the default first. Megatron-LM runs the first two (--use-tp-pp-dp-mapping), DeepSpeed the
/// first and the last (use_data_before_expert_parallelism).
inline constexpr std::array<std::string_view, 6> kRankOrders = {"tp-cp-ep-dp-pp", "tp-cp-ep-pp-dp", "tp-cp-pp-ep-dp",
                                                                "tp-pp-cp-ep-dp", "pp-tp-cp-ep-dp", "tp-cp-dp-ep-pp"};

/// Whether `order` is one of them.
bool is_rank_order(std::string_view order);

/// Ranks of a stage that lie side by side before those of the next one: the fewest that are whole groups of the
/// dimensions before "pp", in the view of attention (tp, cp) as in that of experts (etp, ep). Requires:
/// is_rank_order(strategy.order), and degrees that divide `world` as a mesh wants it.
std::int64_t block_of_stage(const Strategy& strategy, std::int64_t world);

/// Of a stage in an order with "dp" ahead of "ep": `num_copies` EP groups of `reach` blocks of `block` ranks each.
/// Blocks of one group lie `num_copies` blocks apart. In other orders, and where it is the same, there is one copy.
struct CopiesOfExperts {
  std::int64_t block = 1, reach = 1, num_copies = 1;
  bool operator==(const CopiesOfExperts&) const = default;
};
/// Requires: as block_of_stage.
CopiesOfExperts copies_of_experts(const Strategy& strategy, std::int64_t world);

/// Those of `orders` that put ranks on other devices than that of `strategy` does, of equal ones the first.
std::vector<std::string_view> other_orders(const Strategy& strategy, std::int64_t world,
                                           std::span<const std::string_view> orders = kRankOrders);

class RankDevices {
 public:
  /// `listed`: the device of each rank, whatever the order. Empty: ranks are on the first `world` devices in the order
  /// of the strategy. Must outlive this.
  RankDevices(const Strategy& strategy, std::int64_t world, std::span<const DeviceIndex> listed = {});

  DeviceIndex of(RankId rank) const;

 private:
  /// Place of the `inner`th rank of a stage among those of its stage.
  std::int64_t place_in_stage(std::int64_t inner) const;

  std::span<const DeviceIndex> listed_;
  std::int64_t stage_size_, block_, pp_;
  CopiesOfExperts copies_;
};

}  // namespace orrery
