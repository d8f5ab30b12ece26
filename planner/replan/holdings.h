// SPDX-License-Identifier: Apache-2.0
// What every rank of a layout keeps from step to step, as boxes of whole weights: the weights themselves, and masters
// and moments of the optimizer, which lie where a weight is updated. Gradients are not kept: a move happens between
// steps. The lists are those that ranks really hold (program/local_parameters.h, program/shard_layout.h).
#pragma once

#include "program/box.h"
#include "program/local_parameters.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/shard_layout.h"
#include "program/strategy.h"

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace orrery::planner {

/// What is kept of a weight: selection biases are buffers without states, and Muon has one moment of its matrices.
enum class StateKind : std::uint8_t { two_moments, one_moment, buffer };

/// A part of a weight. `tensor` is the same for the same weight under every layout.
struct HeldBox {
  std::int64_t tensor = 0;
  StateKind kind = StateKind::two_moments;
  Box box;
};

/// What a rank holds, in four lists that share nothing: weights and states of dense parameters, then of experts. Each
/// is sorted by tensor and has no element twice.
using Held = std::array<std::vector<HeldBox>, 4>;
constexpr bool is_states(std::size_t list) { return list % 2 == 1; }

class Holdings {
 public:
  /// `model` must outlive it. Requires: violations(model, strategy, batch, world) is empty.
  Holdings(const Model& model, const Strategy& strategy, std::int64_t world);

  const Strategy& strategy() const { return strategy_; }
  std::int64_t world() const { return mesh_.world(); }
  /// All that a rank holds, or one list of it. Complexity: that of the boxes.
  Held of(RankId rank) const;
  std::vector<HeldBox> of(RankId rank, std::size_t list) const;

  /// Where a rank stands, as far as it decides a list: ranks with equal places hold the same. Of lists with another
  /// `ep` or `shard` none has what the other has, but selection biases: experts differ, and all who hold some of a
  /// buffer cut it alike.
  struct Place {
    std::int64_t pp = 0, split = 0;  // split: over TP, or ETP for experts
    std::int64_t ep = 0, shard = 0;  // 0 where it does not matter
    auto operator<=>(const Place&) const = default;
  };
  Place place_of(RankId rank, std::size_t list) const;

 private:
  /// Dense parameters or experts, and how they are cut.
  struct Part {
    std::vector<LocalParameter> parameters;
    std::vector<std::int64_t> tensors;       // by parameter
    std::vector<std::int64_t> place_in_cut;  // by parameter; -1: a buffer, which is not cut
    std::vector<CutWeight> cut;              // until it is cut
    std::shared_ptr<const ShardLayout> shards;
  };
  using Parts = std::array<Part, 2>;
  using ModelPlace = std::array<std::int64_t, 4>;
  /// What ranks of a place of the model hold, not cut yet.
  Parts parts_of(RankId rank) const;
  static ModelPlace model_place(const Coords& at) { return {at.pp, at.tp, at.etp, at.ep}; }
  bool is_sharded(std::size_t list) const {
    return (list < 2 ? strategy_.zero_dense : strategy_.zero_expert) >= (is_states(list) ? 1 : 3);
  }

  const Model& model_;
  const Strategy strategy_;
  const Mesh mesh_;
  std::map<ModelPlace, Parts> parts_;
};

}  // namespace orrery::planner
