// SPDX-License-Identifier: Apache-2.0
// The two flat buffers of a rank, dense and expert: its trained parameters in global tensor order, one after the
// other, padded once at the end to a multiple of the data-parallel group, so that shards are equal and contiguous.
// Gradients, masters and moments have the same layout. Dense parameters are sharded over dp (with cp), experts over
// edp: the two sizes differ, and taking one for both is the classic error of memory estimators.
#pragma once

#include "program/mesh.h"
#include "program/model.h"
#include "program/parameters.h"
#include "program/strategy.h"

#include <cstdint>
#include <vector>

namespace orrery {

enum class FlatBufferKind : std::uint8_t { dense, expert };

struct FlatBuffer {
  std::int64_t elements = 0;  // of the parameters
  std::int64_t padded = 0;    // with padding, a multiple of `ranks`
  std::int64_t ranks = 1;     // of the data-parallel group that shares it; with hybrid sharding, of one instance

  std::int64_t muon = 0;  // of the elements, those in matrices that Muon orthogonalises; it keeps one moment of them

  std::int64_t shard() const { return padded / ranks; }
  /// Of a shard, at most so many elements are in such matrices: whole matrices are dealt to the ranks.
  std::int64_t muon_shard() const { return (muon + ranks - 1) / ranks; }
};

/// Whether the strategy's optimizer orthogonalises the momentum of this weight: matrices of layers, but not embedding,
/// head and router. Source: Jordan et al., "Muon" (2024); Megatron-LM, emerging_optimizers.
bool is_orthogonalised(const Parameter& parameter, const Strategy& strategy);

/// The buffer of one rank of the pipeline rank that holds `stage`.
FlatBuffer flat_buffer(const Model& model, const StageLayout& stage, const Strategy& strategy, const Mesh& mesh,
                       FlatBufferKind kind);

/// The same of a pipeline rank that holds several virtual stages.
FlatBuffer flat_buffer(const Model& model, const std::vector<StageLayout>& stages, const Strategy& strategy,
                       const Mesh& mesh, FlatBufferKind kind);

/// Whether the optimizer keeps a master copy: not when the weights already have its type.
constexpr bool has_master(const Strategy& strategy) { return compute_dtype(strategy) != strategy.master_dtype; }

}  // namespace orrery
