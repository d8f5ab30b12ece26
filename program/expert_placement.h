// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/load_model.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

// Which rank of an EP group holds which experts. Without a placement rank i of n holds the i-th n-th of the experts in
// their order; routers, however, do not like experts in any order. A placement says for a layer which expert stands at
// each position, and rank i holds the i-th n-th of the positions. Loads, weights, names and checkpoints speak of
// experts, exchanges and grouped products of positions: this is the only bridge between them.

namespace orrery {

class JsonObject;
class JsonValue;
class JsonWriter;

struct ExpertPlacement {
  /// By layer: the expert at each position. A layer that is not there has expert e at position e.
  std::map<std::int64_t, std::vector<std::int32_t>> layers;

  bool is_default() const { return layers.empty(); }
  std::int32_t expert_at(std::int64_t layer, std::int64_t position) const;
  /// The positions of the experts of a layer. Requires: every expert stands at one position.
  std::vector<std::int32_t> positions(std::int64_t layer, std::int64_t num_experts) const;

  bool operator==(const ExpertPlacement&) const = default;
};

/// The same pairs by position: column p is that of the expert there.
RoutingMatrix by_position(const ExpertPlacement& placement, std::int64_t layer, RoutingMatrix by_expert);

/// What routing() gives, by position.
RoutingMatrix placed_routing(const LoadModel& load, const ExpertPlacement& placement, const RoutingQuery& query);

/// The layers as JSON: `[{"layer": 3, "ranks": [[4, 0], [1, 7]]}, ...]`, the experts of each of `ep` ranks.
/// Requires: `ep` divides the number of positions.
void write_layers(JsonWriter& out, const ExpertPlacement& placement, std::int64_t ep);

/// What a reader demands of the layers.
struct PlacementRules {
  std::int64_t num_experts = 0;  // of a layer
  std::int64_t ep = 0;           // ranks of an EP group
  bool once = true;              // every expert on one rank; else on at least one
};
ExpertPlacement read_layers(const JsonValue& in, const PlacementRules& rules);

/// placement/1 (docs/formats/placement.md): where experts and their copies shall be, for whoever trains.
struct PlacementFile {
  std::string model;
  std::int64_t num_experts = 0, ep = 0;
  ExpertPlacement placement;  // copies allowed
};
std::string to_json(const PlacementFile& file);
/// Throws: ConfigError with all problems.
PlacementFile read_placement(const std::string& path);

}  // namespace orrery
