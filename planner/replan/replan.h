// SPDX-License-Identifier: Apache-2.0
// A plan for what is left when devices of another one are gone: searches near the old plan, on the largest worlds that
// the devices left can make, and weighs the time of a step against that of moving shards there.
// Design and price: docs/design/replanning.md.
#pragma once

#include "costmodel/cost_model.h"
#include "planner/replan/shard_move.h"
#include "planner/search.h"
#include "program/plan.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace orrery::planner {

struct ReplanWishes {
  bool whole_space = false;      // instead of what is near the old plan
  std::int64_t num_worlds = 3;   // the largest ones that the rules allow
  std::int64_t num_options = 3;  // plans that are weighed: the fastest, and the old split
  /// For how long training goes on: steps, or time, in which the fastest plan's steps are counted.
  std::variant<Seconds, std::int64_t> horizon = 3600.0 * unit::second;
  std::vector<std::string> conditions = {};  // planner/conditions.h
  std::optional<Bytes> memory_limit = {};
};

struct ReplanOption {
  RankedPlan plan;
  std::vector<DeviceIndex> device_of_rank;
  bool keeps_split = false;  // the old strategy, with fewer data-parallel ranks
  /// None: whatever it moves, its steps alone take longer than another option in all.
  std::optional<ShardMove> move;
  Seconds move_time;  // a bound: the busiest device receives at the rate of its ports; zero without a move
  Seconds total;      // of the move and the steps of the horizon
};

struct Replanned {
  std::vector<ReplanOption> options;  // by total, the best first
  Certificate certificate;            // of step times, in the space that was searched
  std::int64_t num_left = 0;          // devices
  double num_steps = 0.0;             // of the horizon
  StateBytes lost_alone;              // what only lost ranks held
  bool searched_whole_space = false;  // asked for, or nothing near the old plan can run
  std::vector<std::int64_t> worlds;   // that were searched
};

/// After how many steps `faster` is ahead of `other`, 0: from the start; at most, where the move of `other` is not
/// known. Nothing: never, since its steps take no less.
std::optional<double> break_even(const ReplanOption& faster, const ReplanOption& other);

/// `lost`: ranks of `from`. Devices without a rank are left alone. `batch` is that of the steps to come.
/// Throws: ConfigError: a rank that the plan does not have, or all of them; nodes of several kinds; as search() does.
std::variant<Replanned, Infeasible> replan(const Plan& from, const std::vector<RankId>& lost, const BatchShape& batch,
                                           const std::shared_ptr<const costmodel::CostModel>& cost,
                                           const ReplanWishes& wishes = {},
                                           const std::function<void(const Progress&)>& on_progress = {});

}  // namespace orrery::planner
