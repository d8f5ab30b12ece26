// SPDX-License-Identifier: Apache-2.0
// The dimensions of a strategy one by one, so that a strategy can be mixed from two.
#pragma once

#include "program/strategy.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace orrery::planner {

/// What belongs together when there are too many players.
enum class DimensionKind : std::uint8_t {
  degrees,
  pipeline,
  sharding,
  batch,
  recompute,
  experts,
  overlap,
  types,
  memory
};

struct StrategyDimension {
  std::string name;  // key of strategy/1
  DimensionKind kind;
  std::function<std::string(const Strategy&)> text;  // its value, for people
  /// Absent for the two that lie in the stages, the layout and what is recomputed, which are mixed together.
  std::function<void(Strategy& into, const Strategy& from)> copy;
};

class StrategyMix {
 public:
  /// Requires: both outlive this.
  StrategyMix(const Strategy& first, const Strategy& second);

  /// Those in which the two differ.
  const std::vector<const StrategyDimension*>& dimensions() const { return dimensions_; }
  /// "ep 8 -> 64".
  std::string change_of(std::size_t dimension) const;

  /// The first strategy with those dimensions of the second whose bits are set in `from_second`. Stages bring along
  /// what they recompute unless that is a dimension of its own; then nothing where stages of one layout would have to
  /// recompute what was said of another, and it was not the same for all.
  std::optional<Strategy> strategy(std::uint64_t from_second) const;

 private:
  const Strategy& first_;
  const Strategy& second_;
  std::vector<const StrategyDimension*> dimensions_;
};

}  // namespace orrery::planner
