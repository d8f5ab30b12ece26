// SPDX-License-Identifier: Apache-2.0
// Activations of the pipeline ranks by formula: layers and ends from their tables (costmodel/tensor_table.h), slots
// from layers, and the fullest moment of a step from slots and the counts of the schedule
// (costmodel/pipeline_moments.h). Nothing here looks at a program; that the program's own tensors agree to the byte is
// tested by replaying them (program/memory_replay.h). Formulas: docs/design/memory.md.
#pragma once

#include "costmodel/memory.h"
#include "costmodel/tensor_lives.h"

#include <memory>
#include <set>
#include <vector>

namespace orrery::costmodel {

struct PipelineMoment;

/// The fullest moment of a pipeline rank, in bytes.
struct ActivationPeak {
  double saved = 0.0;                      // waits for a backward
  double transients = 0.0;                 // everything else that lives then
  double early_messages = 0.0;             // that may arrive before their slot begins: one on each queue
  const PipelineMoment* moment = nullptr;  // of the slot in which that is; of pipeline_moments, so it holds as they do
  std::int64_t layers_in_flight = 0;       // layers times their micro-batches in flight, at most
};

/// Layers that keep the same on the host.
struct OffloadedLayers {
  std::int64_t count = 0;
  double bytes = 0.0;  // of each
};

/// Of one strategy's operators and schedule, however its stages are laid and whatever they recompute: tables are made
/// once, and each kind of stage once.
class ActivationPeaks {
 public:
  /// `model` must outlive this. Of `strategy` its operators and its sharding count, of `mesh` whether anybody shares.
  ActivationPeaks(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                  const MemoryModel& parameters);
  /// The same for a strategy that differs from that of `alike` in nothing but its sharding and its offload, so that
  /// both lay the same pieces.
  ActivationPeaks(const ActivationPeaks& alike, const Strategy& strategy, const Mesh& mesh);
  ~ActivationPeaks();
  ActivationPeaks(ActivationPeaks&&) = delete;

  /// Of pipeline rank `rank` in the pipeline of `strategy` (its schedule, ranks and chunks) with `stages`, one for each
  /// chunk.
  ActivationPeak of_rank(const Strategy& strategy, std::int64_t num_micro_batches, std::int64_t rank,
                         const std::vector<StageLayout>& stages);

  /// Bytes of each layer of a stage that a micro-batch keeps on the host from forward to backward, when activations are
  /// offloaded: layers that are alike together.
  std::vector<OffloadedLayers> offloaded(const StageLayout& stage);

 private:
  struct Pieces;
  struct Tables;
  std::unique_ptr<Tables> tables_;
};

/// Of every pipeline rank, in order.
/// Requires: violations(model, strategy, batch, mesh.world()) is empty.
std::vector<ActivationPeak> activation_peaks(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                             const Mesh& mesh, const MemoryModel& parameters);

/// Bytes of one transformer layer for a micro-batch on a rank.
struct LayerActivations {
  double saved = 0.0;    // from forward to backward, its input included
  LifeSegment forward;   // relative to what lives before it
  LifeSegment backward;  // whole
};
LayerActivations layer_activations(const TableSizes& sizes, LayerKind kind, const std::set<RecomputeModule>& recompute);

}  // namespace orrery::costmodel
