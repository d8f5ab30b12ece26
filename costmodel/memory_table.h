// SPDX-License-Identifier: Apache-2.0
// What lies on one pipeline rank, part by part: its layers by kind, its embedding, prediction modules and head. The
// numbers of a part are not formulas of their own: each part is put on a stage alone and memory_per_stage is asked, so
// a table and the memory by cause cannot disagree. The sum over the parts is the states of the rank (up to the padding
// of flat buffers, once for each part) and, times the micro-batches in flight, its saved activations.
#pragma once

#include "costmodel/memory.h"

#include <cstdint>
#include <set>
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
  Bytes saved;                                               // activations, of one micro-batch
  std::int64_t in_flight = 0;                                // micro-batches of the stage at the fullest moment
};

/// The parts of a rank, and when it holds most saved activations: after this forward.
struct RankTable {
  std::vector<StagePart> parts;
  std::int64_t stage = 0, micro_batch = 0;
};

/// Of pipeline rank `rank`, parts in the order in which its stages hold them. The fullest moment comes from the slots
/// of the schedule: a micro-batch is held from its forward to the end of its backward or weight gradient.
/// Requires: violations(model, strategy, batch, mesh.world()) is empty, and a rank of the pipeline.
RankTable rank_table(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                     const MemoryModel& parameters, std::int64_t rank);

/// "embedding", "dense", "moe", "mtp", "head".
std::string_view name_of(StagePart::Kind kind);

}  // namespace orrery::costmodel
