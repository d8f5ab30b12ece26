// SPDX-License-Identifier: Apache-2.0
// What the ops of one rank work on.
#pragma once

#include "executor/kernels/gemm.h"
#include "executor/kernels/rope.h"
#include "executor/runtime/corpus.h"
#include "executor/runtime/gradient_buckets.h"
#include "executor/runtime/groups.h"
#include "executor/runtime/routing.h"
#include "executor/runtime/routing_file.h"
#include "executor/runtime/settings.h"
#include "executor/runtime/tensor_store.h"
#include "executor/runtime/weights.h"
#include "program/step_program.h"

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

namespace orrery::executor {

/// Sums of one step, started anew for each.
struct StepTotals {
  /// The loss is added up as a whole number of these, so that it does not depend on who adds which part of it when.
  static constexpr double kLossUnit = 0x1p-60;
  Int128 loss = 0;           // over this rank's tokens, already divided by the tokens of the global batch
  double global_loss = 0.0;  // the same over all ranks, after norm.reduce
  double squares = 0.0;      // sum of squared gradients over all ranks, after norm.reduce
  /// This rank's shares of the two, exact, as they travel: squares, and the loss in multiples of 2^-60.
  std::array<Int128, 2> reduce_values{};
  std::map<std::int64_t, std::vector<std::int64_t>> expert_counts;  // by layer: tokens of each expert

  /// Throws: BackendError, when it is infinite or no number: training that has diverged does not come back.
  void add_loss(double value);
};

/// Everything that a rank has.
struct RankState {
  RankState(const StepProgram& program, RankId rank, Endpoint& endpoint, const TrainingSettings& settings);

  const StepProgram& program;
  const RankClass& rank_class;
  const RankView view;
  const TrainingSettings& settings;
  const Gemm& gemm;
  const RopeTable rope;
  /// Where this rank's tokens of a sequence stand in it, ascending: with context parallelism, two chunks of it.
  const std::vector<std::int64_t> positions;
  Weights weights;
  const std::array<GradientBuckets, 2> buckets;  // by kind of parameters
  TensorStore tensors;
  Groups groups;
  Corpus corpus;
  Routing routing;
  std::optional<Choices> replayed, recorded;  // of the step: what routers take, and what they have chosen so far
  StepTotals totals;
  std::int64_t step = 0;  // counts from 0
  /// By kind of parameters: sums of a unit's gradients on their way over the instances of hybrid sharding.
  std::array<std::vector<std::byte>, 2> unit_sums;
  std::optional<TensorIndex> device_states;  // with offload, masters and moments while they are here
  /// Activations that a copy has taken to the host, by role, layer and micro-batch.
  std::map<std::tuple<TensorRole, std::int16_t, std::int32_t>, std::vector<std::byte>> host;

  const GradientBuckets& buckets_of(const FlatState& state) const {
    return buckets[static_cast<std::size_t>(state.kind().kind)];
  }
  const Model& model() const { return program.model; }
  const Strategy& strategy() const { return program.strategy; }
  std::int64_t seq() const { return program.batch.seq; }
  double global_tokens() const { return static_cast<double>(program.batch.seq * program.batch.global_batch); }
};

/// Positions in a sequence of `seq` tokens of those of rank `index` of a context-parallel group, ascending: chunks
/// index and 2 cp - 1 - index of 2 cp equal ones, so that causal work is the same on every rank.
std::vector<std::int64_t> zigzag_positions(std::int64_t seq, std::int64_t cp, std::int64_t index);

}  // namespace orrery::executor
