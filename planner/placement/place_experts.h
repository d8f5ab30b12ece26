// SPDX-License-Identifier: Apache-2.0
// Where the experts of a whole model can be: ways to place them between which equally full ranks and pairs that stay on
// their node decide. Design and what they cost: docs/design/planner-placement.md.
#pragma once

#include "planner/placement/layer_load.h"
#include "planner/placement/shape.h"
#include "program/expert_placement.h"
#include "program/plan.h"

#include <cstdint>
#include <string>
#include <vector>

namespace orrery::planner {

/// How good a placement is, over all layers with experts.
struct PlacementScore {
  double fullest = 1.0;         // pairs of the fullest rank over the mean, mean of the layers
  double worst = 1.0;           // of the worst layer
  double crossing = 0.0;        // share of the pairs that leave their node
  std::int64_t most_nodes = 1;  // that a token reaches in a layer, at most
};

struct PlacementOption {
  std::string name;
  ExpertPlacement placement;
  PlacementScore score;
};

struct PlacementProblem {
  const Plan& plan;
  const LoadModel& load;        // what the routers do: may be a recorded one, of the plan's layout
  std::int64_t num_copies = 0;  // positions of an EP group beyond one for each expert
};

/// Layers with experts, prediction modules left out: no load speaks of them.
std::vector<std::int64_t> layers_with_experts(const Model& model);

/// Positions of the plan's EP groups and the nodes under them. Throws: ConfigError: a model without experts, EP 1,
/// copies that do not divide over the ranks, groups whose nodes differ in ranks.
PlacementShape shape_of(const Plan& plan, std::int64_t num_copies);

/// The first is as the plan has it, where there are no copies; then those that no other one beats in `fullest`,
/// `crossing` and `most_nodes`, each once. Where tokens travel once for each node (dispatcher two_level) and routers
/// keep to groups, only those that keep groups on nodes. Same input, same answer, with any number of threads. Throws:
/// as shape_of() and layer_load().
std::vector<PlacementOption> placement_options(const PlacementProblem& problem);

}  // namespace orrery::planner
