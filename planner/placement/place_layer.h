// SPDX-License-Identifier: Apache-2.0
// Places the experts of one layer: the greedy first, then pairs of experts change places as long as that helps. Two
// things are wished for, ranks that are equally full and pairs that stay on their node; a weight says what one is worth
// in the other.
#pragma once

#include "planner/placement/placed_layer.h"

#include <cstdint>
#include <vector>

namespace orrery::planner {

/// What a placement is judged by, the less the better: the fullest rank over the mean, plus `crossing_weight` times
/// the share of pairs that leave their node.
double judged(const PlacedLayer& layer, double crossing_weight);

/// Lets experts change places, first those of the fullest rank, then those whose exchange keeps pairs on their node,
/// until no exchange is better. With groups (`PlacementShape::num_groups` above 1) they stay on their node.
/// Complexity: an exchange on the fullest rank is sought among its positions times all others; some tens are made.
void improve(PlacedLayer& layer, double crossing_weight);

/// The expert at each position: from the greedy and from where experts are `now`, each improved, the better; of equally
/// good ones that which moves less. `now`: without copies; empty: experts are in their order.
std::vector<std::int32_t> place_layer(const LayerLoad& load, const PlacementShape& shape, double crossing_weight,
                                      std::vector<std::int32_t> now = {});

}  // namespace orrery::planner
