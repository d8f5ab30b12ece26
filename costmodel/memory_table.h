// SPDX-License-Identifier: Apache-2.0
// What lies on one pipeline rank, part by part: its layers by kind, its embedding, prediction modules and head; and the
// slot in which it is fullest. Nothing here is a formula of its own: parts are asked of the same tables as the memory
// by cause, so the two cannot disagree. The states of the parts add up to those of the rank, up to the padding of flat
// buffers, once for each part; what the parts of a stage save adds up to what the stage saves.
#pragma once

#include "costmodel/memory.h"

#include <cstdint>
#include <set>
#include <string_view>
#include <vector>

namespace orrery::costmodel {

/// Equal layers of one virtual stage, or what else it has. All sizes are of all `count` together, on one rank.
struct StagePart {
  enum class Kind : std::uint8_t { embedding, dense, moe, mtp, head };

  std::int64_t stage = 0;
  Kind kind = Kind::dense;
  std::int64_t count = 1;
  std::set<RecomputeModule> recompute = {};
  std::int64_t dense_parameters = 0, expert_parameters = 0;  // before ZeRO, without buffers
  Bytes states;                                              // weights, gradients, optimizer
  Bytes saved;                                               // activations, from forward to backward, of a micro-batch
  std::int64_t in_flight = 0;  // micro-batches of the stage in that slot, its own included
};

/// The parts of a rank, and the slot in which its activations and transients take most: its kind and its stage.
struct RankTable {
  std::vector<StagePart> parts;
  Slot::Kind slot = Slot::Kind::forward;
  std::int64_t stage = 0;
};

/// Of every pipeline rank; parts in the order in which its stages hold them.
/// Requires: violations(model, strategy, batch, mesh.world()) is empty.
std::vector<RankTable> rank_tables(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                   const Mesh& mesh, const MemoryModel& parameters);

/// "embedding", "dense", "moe", "mtp", "head".
std::string_view name_of(StagePart::Kind kind);

}  // namespace orrery::costmodel
