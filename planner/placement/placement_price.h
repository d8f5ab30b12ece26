// SPDX-License-Identifier: Apache-2.0
// What a placement gains and costs: the step with it, by the analytic interpreter under the load that it was made for;
// the memory of the fullest rank; and the way there, experts with all their states. Copies have a price in each step
// too, the sum of their gradients.
#pragma once

#include "costmodel/cost_model.h"
#include "planner/placement/place_experts.h"
#include "planner/replan/shard_move.h"
#include "program/expert_placement.h"
#include "program/plan.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace orrery::planner {

struct PlacementPrice {
  Seconds step;         // of the analytic interpreter
  Seconds copies_step;  // at least, for sums of the gradients of copies, on top of it; zero without copies
  Bytes memory;         // of the fullest rank
  std::vector<std::string> extrapolated = {};  // names of ops whose time lies outside what was measured
  std::int64_t num_moved = 0;                  // (layer, expert) that come to a rank of an EP group that had them not
  Bytes moved;                                 // by all devices together
  Bytes busiest;                               // by the device that gets most
  Seconds move;  // at least: what `busiest` takes at the rate of one message between nodes

  Seconds whole_step() const { return step + copies_step; }
};

/// What an expert of `layer` is to the device that holds it, or one shard of it: `weights` and, on one of the ranks
/// that share them, states. Requires: a layer with experts.
StateBytes expert_bytes(const Plan& plan, std::int64_t layer);

/// The plan's step with `option`, under `load`. From the placement that the plan has. Requires: legal with as many
/// copies as there are. Throws: ConfigError if an op is not calibrated.
PlacementPrice price_of(const Plan& plan, const ExpertPlacement& placement, const LoadModel& load,
                        const std::shared_ptr<const costmodel::CostModel>& cost);

/// After how many steps the move is paid; nothing: never.
std::optional<double> break_even(const PlacementPrice& before, const PlacementPrice& after);

/// The model in which every copy is an expert of its own, and its load: what the step with copies is predicted with.
/// Pairs of an expert are dealt evenly.
Model with_copies(const Model& model, std::int64_t num_positions);
LoadModel load_of_positions(const LoadModel& load, const Model& model, const ExpertPlacement& placement);

}  // namespace orrery::planner
