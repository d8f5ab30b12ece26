// SPDX-License-Identifier: Apache-2.0
// Memory of one rank of each pipeline stage, by cause and by formula: fast enough to be the first check of a search,
// and exact for what the executor allocates. What a GPU adds (fragmentation, context, library buffers) is a separate
// cause with its own parameters. Formulas, their sources and their price: docs/design/memory.md.
#pragma once

#include "base/units.h"
#include "costmodel/framework.h"
#include "program/cluster.h"
#include "program/load_model.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/schedule.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::costmodel {

struct MemoryByCause {
  Bytes weights, gradients, optimizer;
  Bytes activations;    // saved from forward to backward, of all micro-batches in flight
  Bytes transients;     // gradients and recomputed activations at the fullest moment
  Bytes communication;  // one message of each pipeline neighbour that arrives early
  Bytes buffers;        // that the framework keeps from the first step on
  Bytes graphs;         // inputs and outputs of captured CUDA graphs, which cannot be shared
  Bytes fragmentation;  // of the allocator
  Bytes reserve;        // context of the driver, buffers of libraries

  Bytes states() const { return weights + gradients + optimizer; }
  /// What tensors take: all but what the allocator wastes and the process needs beside them.
  Bytes allocated() const { return states() + activations + transients + communication + buffers + graphs; }
  Bytes total() const { return allocated() + fragmentation + reserve; }
};

/// What the formulas cannot know.
struct MemoryModel {
  /// Rows that arrive at the fullest rank's experts, over those that leave it.
  double rho = 1.0;
  /// The same over all ranks of the fullest rank's ETP group, and for tokens that are sent once however many of their
  /// experts are there; not set: rho, and 1.
  std::optional<double> rho_gathered = {};
  std::optional<double> rho_distinct = {};
  /// Reserved over allocated memory, minus 1: 1.040 is the median of 43 runs of Megatron-LM on B200 (SimuMax), their
  /// largest is 1.093.
  double fragmentation = 0.04;
  /// CUDA context, about 0.5 GiB, and NCCL's buffers, 4 MiB for each channel and peer: an assumption.
  Bytes reserve = gib(2);

  /// Copies, fused kernels and buffers of what trains.
  Framework framework = {};

  /// The parameters of a device: a CPU rank allocates what it needs and no more.
  static MemoryModel of(const Device& device);
  /// The parameters of a framework on a GPU.
  static MemoryModel of(const Framework& framework);
  /// Those of a framework by its name; of the device alone without one, and of a CPU rank, which our executor trains.
  /// Requires: a name of frameworks_with_memory(), or none.
  static MemoryModel of(const Device& device, std::string_view framework);
};

/// Memory of the ranks of every pipeline rank, in order.
/// Requires: violations(model, strategy, batch, mesh.world()) is empty.
std::vector<MemoryByCause> memory_per_stage(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                            const Mesh& mesh, const MemoryModel& parameters);

struct ActivationPeak;
struct RankStates;

/// Of a rank that holds `stages`, when its states and activations are known: for callers that try many of both.
MemoryByCause memory_of_rank(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                             const MemoryModel& parameters, const std::vector<StageLayout>& stages,
                             const RankStates& states, const ActivationPeak& peak);

/// The largest total. Requires: at least one stage.
Bytes fullest(const std::vector<MemoryByCause>& stages);

/// Nothing if the fullest stage fits the device, else a sentence: "pipeline rank 0 needs 91.2 GiB, device has
/// 79.2 GiB".
/// Throws: ConfigError if the device's memory is unknown.
std::optional<std::string> why_it_does_not_fit(const std::vector<MemoryByCause>& stages, const Device& device);

/// Peak of a lowered program: its weights, gradients and optimizer states by formula, its activations by replay under
/// a balanced load. Of the fullest rank.
Bytes peak_memory(const StepProgram& program);
/// The same under `load`, layer by layer. Throws: ConfigError as routing() does.
Bytes peak_memory(const StepProgram& program, const LoadModel& load);

}  // namespace orrery::costmodel
