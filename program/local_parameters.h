// SPDX-License-Identifier: Apache-2.0
// Which weights a rank holds and what of each: tensor parallelism gives it some rows or columns, expert parallelism
// some experts, the pipeline some layers. Initial weights, sums over ranks, the gradient norm, checkpoints and moves to
// another layout all start from this list, so that a weight has one place whatever the layout.
#pragma once

#include "program/box.h"
#include "program/flat_buffer.h"
#include "program/mesh.h"
#include "program/parameters.h"
#include "program/step_program.h"

#include <cstdint>
#include <string>
#include <vector>

namespace orrery {

/// A weight as far as one rank holds it: `boxes` of the whole one, one below the other.
struct LocalParameter {
  Parameter whole;
  std::vector<Box> boxes;
  std::int64_t rows = 0, cols = 0;  // of what is here
  std::int64_t first = 0;           // element of the flat buffer of its kind
  /// Elements from `copied_from` on are the same on `num_copies` ranks of the TP (ETP) group, of which this is `copy`.
  std::int64_t copied_from = 0, num_copies = 1, copy = 0;
  /// The matrix that the first stage and another one hold: an embedding, or a head tied to it. Here it is which of two.
  bool shared_by_stages = false;
  std::int64_t stage_copy = 0;
  bool orthogonalised = false;  // Muon moves it

  std::int64_t size() const { return rows * cols; }
};

/// The weight that is stored for `parameter`: of a tied head the embedding.
Parameter stored_parameter(const Parameter& parameter, bool tied_embeddings);
/// Its name, under which a weight starts, too.
std::string stored_name(const Parameter& parameter, bool tied_embeddings);

/// What of `whole` is on rank `index` of a group of `degree` ranks. Adds up to elements_on_rank().
std::vector<Box> boxes_on_rank(const Parameter& whole, const Model& model, std::int64_t degree, std::int64_t index);

/// Elements that lie side by side on a rank, as a box of the whole weight.
struct LocalBox {
  Box box;
  std::int64_t first = 0;  // element of what the rank holds
};

/// Elements [begin, begin + count) of what a rank holds of a weight, in order; at most three boxes for each of its own.
std::vector<LocalBox> local_boxes(const LocalParameter& parameter, std::int64_t begin, std::int64_t count);

/// The virtual stages of a rank in the order of the model, whatever the order in which the rank runs them, so that two
/// ranks with the same stages have the same flat buffers.
std::vector<StageLayout> stages_in_order(const Strategy& strategy, const Mesh& mesh, RankId rank);

/// The weights of `rank`, buffers included, in the order of its flat buffers.
std::vector<LocalParameter> local_parameters(const Model& model, const Strategy& strategy, const Mesh& mesh,
                                             RankId rank);
/// The same under the program's placement: which experts' weights they are.
std::vector<LocalParameter> local_parameters(const StepProgram& program, RankId rank);

/// The unit of the model to which a weight belongs under ZeRO 2 and 3: a layer, OpKey::kEmbed or OpKey::kHead.
std::int16_t unit_of(const Parameter& parameter);

}  // namespace orrery
