// SPDX-License-Identifier: Apache-2.0
// What a pipeline rank holds from step to step: weights, gradients and optimizer states by formula. Parameters are
// counted per kind of layer, so that a search can ask for every rank of every strategy.
#pragma once

#include "base/units.h"
#include "costmodel/framework.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/strategy.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace orrery {
struct StepProgram;
}

namespace orrery::costmodel {

/// Trained elements on a rank, dense and expert, and how many of them Muon orthogonalises.
struct RankElements {
  std::int64_t dense = 0, expert = 0;
  std::int64_t muon_dense = 0, muon_expert = 0;
  std::int64_t num_moe_layers = 0;  // each with a buffer of router biases, if the model has them
  RankElements& operator+=(const RankElements& other);
};

/// Elements of layers and ends on a rank of a strategy, each kind counted once.
class ElementCounts {
 public:
  ElementCounts(const Model& model, const Strategy& strategy);

  /// Layer `layer`; from num_layers() on a prediction module.
  const RankElements& layer(std::int64_t layer);
  /// The embedding, learned positions included; the head with its norm.
  RankElements embedding() const;
  RankElements head() const;
  /// All that a rank trains. A head tied to an embedding on the same rank counts once; prediction modules without an
  /// embedding hold a copy of it.
  RankElements rank(const std::vector<StageLayout>& stages);

 private:
  const Model& model_;
  const Strategy& strategy_;
  std::array<std::optional<RankElements>, 4> layers_;  // dense, moe, and of prediction modules
};

struct RankStates {
  Bytes weights, gradients, optimizer;
  Bytes loaded;      // optimizer states that come from the host at the end of a step
  Bytes wire_grads;  // the larger of the copies in which gradients travel, at the end of a step
};

/// The stages of a pipeline rank.
std::vector<StageLayout> stages_on_rank(const Strategy& strategy, std::int64_t rank);

/// States of a rank that trains `elements`. ZeRO 1 divides optimizer states, 2 gradients as well, 3 also weights; dense
/// parameters over dp, experts over edp, with hybrid sharding inside an instance. Each buffer is padded once.
RankStates rank_states(const Model& model, const Strategy& strategy, const Mesh& mesh, const Framework& framework,
                       const RankElements& elements);

/// The same of a rank that holds `stages`.
RankStates rank_states(const Model& model, const Strategy& strategy, const Mesh& mesh, const Framework& framework,
                       const std::vector<StageLayout>& stages, ElementCounts& counts);

/// The same of a class of the program's ranks; nothing in a program made by hand, which has no stages.
RankStates states_of_class(const StepProgram& program, std::size_t index, ElementCounts& counts);

}  // namespace orrery::costmodel
