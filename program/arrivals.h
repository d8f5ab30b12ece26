// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/load_model.h"
#include "program/step_program.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

// How many rows arrive at the experts of one rank, in each layer and micro-batch: what decides the size of the tensors
// whose rows the router chooses. Resolved from a LoadModel once, then asked for every tensor (program/memory_replay.h).

namespace orrery {

/// (token, choice) pairs that leave each rank in one micro-batch, at every MoE layer.
/// Requires: a model with experts.
std::int64_t pairs_per_rank(const Model& model, const Strategy& strategy, const BatchShape& batch);

/// Rows that arrive at the fullest rank's experts over those that leave it: the mean over the MoE layers of a stage, of
/// the stage and the position in an EP group where it is largest. One number for what a formula cannot have by layer.
class FullestShare {
 public:
  /// Requires: a load that is the same for all EP groups. Throws: ConfigError as routing() does.
  FullestShare(const Model& model, const LoadModel& load, const ExpertPlacement& placement = {});

  /// At least 1. Complexity: linear in layers times experts; constant under a balanced load.
  double of(const Strategy& strategy) const;

 private:
  std::vector<std::vector<double>> shares_;  // by layer: of each expert; empty for dense layers
};

/// Rows that arrive at one rank in one layer and micro-batch.
struct ArrivedRows {
  double received = 0.0;
  double gathered = 0.0;                // the same, summed over the ranks of its ETP group
  double distinct_share = 1.0;          // tokens that arrive, each once, over those under a balanced router ...
  std::optional<double> distinct = {};  // ... or how many, where they were counted
};

class Arrivals {
 public:
  /// Every rank gets as many rows as it sends. Nothing is stored and nothing computed.
  static Arrivals balanced() { return {}; }
  /// The same rows in all layers and micro-batches.
  static Arrivals same_everywhere(const ArrivedRows& rows);

  /// Rows in `layer`: of each micro-batch, or one element that holds for all of them.
  void set(std::int64_t layer, std::vector<ArrivedRows> of_micro_batch);

  /// Rows and bytes of a tensor. Requires: if a router decides its rows, its layer was set.
  double rows_of(const Tensor& tensor) const;
  double bytes_of(const Tensor& tensor) const;

 private:
  enum class Kind : std::uint8_t { balanced, same_everywhere, by_layer };
  const ArrivedRows& at(const Tensor& tensor) const;

  Kind kind_ = Kind::balanced;
  ArrivedRows everywhere_;
  std::vector<std::vector<ArrivedRows>> by_layer_;
};

/// Ranks of a class that may differ under `load`; the rows of any other rank are those of one of them. The first rank
/// under a balanced load, the members of its EP group under any other that is the same for all groups, else all.
std::vector<RankId> distinct_ranks(const StepProgram& program, ClassId program_class, const LoadModel& load);

/// Arrivals of `ranks`, in their order. Requires: at least one, all of one class.
/// Complexity: linear in the tensors of the class, and in its MoE layers (times micro-batches, where they differ) times
/// ranks times experts. Throws: ConfigError if the load does not hold what it is asked, as routing() does.
std::vector<Arrivals> arrivals_of(const StepProgram& program, std::span<const RankId> ranks, const LoadModel& load);

}  // namespace orrery
