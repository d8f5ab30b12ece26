// SPDX-License-Identifier: Apache-2.0
// Closed forms of what data-parallel ranks send for one of the two flat buffers in a step, and of what the optimizer
// multiplies: for costmodel/step_work.cpp.
#pragma once

#include "program/flat_buffer.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/strategy.h"

#include <vector>

namespace orrery::costmodel {

/// Bytes that each of n ranks sends in a ring: a reduce-scatter or all-gather, and both.
constexpr double scattered(double n, double bytes) { return (n - 1.0) / n * bytes; }
constexpr double all_reduced(double n, double bytes) { return 2.0 * scattered(n, bytes); }

class ShardedBuffer {
 public:
  /// Of a rank with these stages. `layouts` outlive it.
  ShardedBuffer(const Model& model, const Strategy& strategy, const Mesh& mesh, const std::vector<StageLayout>& layouts,
                FlatBufferKind kind);

  /// Bytes of gradients and weights, `micro_batches` of them on each stage.
  double sent(double micro_batches) const;
  /// Five Newton-Schulz iterations X <- aX + (bA + cAA)X with A = XX^T of each matrix: two products of 2 m^2 n FLOPs
  /// and one of 2 m^3, m <= n (Jordan et al., "Muon", 2024). TP ranks do so for their blocks (Megatron-LM,
  /// "blockwise"); matrices of one shape are dealt to the ranks that shard the states.
  double muon_flops() const;

 private:
  /// Elements of what is gathered and reduced as one in ZeRO 2 and 3, of each stage and micro-batch.
  std::vector<double> units() const;
  double elements_of_layer(std::int64_t layer) const;
  double embedding() const;  // its elements

  const Model& model_;
  const Strategy& strategy_;
  const std::vector<StageLayout>& layouts_;
  const FlatBufferKind kind_;
  const FlatBuffer flat_;
  const int zero_;
  const double whole_, shards_, instances_;  // ranks
};

}  // namespace orrery::costmodel
