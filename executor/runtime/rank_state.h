// SPDX-License-Identifier: Apache-2.0
// What the ops of one rank work on, and one op as its function sees it.
#pragma once

#include "executor/kernels/attention.h"
#include "executor/kernels/gemm.h"
#include "executor/kernels/rope.h"
#include "executor/kernels/router.h"
#include "executor/runtime/corpus.h"
#include "executor/runtime/groups.h"
#include "executor/runtime/routing.h"
#include "executor/runtime/settings.h"
#include "executor/runtime/tensor_store.h"
#include "executor/runtime/weights.h"
#include "program/step_program.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace orrery::executor {

/// Sums of one step, started anew for each.
struct StepTotals {
  double loss = 0.0;         // over this rank's tokens, already divided by the tokens of the global batch
  double global_loss = 0.0;  // the same over all ranks, after norm.reduce
  double squares = 0.0;      // sum of squared gradients over all ranks, after norm.reduce
  /// This rank's shares of the two, exact, as they travel: squares, and the loss in multiples of 2^-60.
  std::array<Int128, 2> reduce_values{};
  std::map<std::int64_t, std::vector<std::int64_t>> expert_counts;  // by layer: tokens of each expert
};

/// Everything that a rank has.
struct RankState {
  RankState(const StepProgram& program, RankId rank, ShmEndpoint& endpoint, const TrainingSettings& settings);

  const StepProgram& program;
  const RankClass& rank_class;
  const RankView view;
  const TrainingSettings& settings;
  const Gemm& gemm;
  std::optional<RopeTable> rope;
  Weights weights;
  TensorStore tensors;
  Groups groups;
  Corpus corpus;
  Routing routing;
  StepTotals totals;
  std::int64_t step = 0;  // counts from 0

  const Model& model() const { return program.model; }
  std::int64_t seq() const { return program.batch.seq; }
  double global_tokens() const { return static_cast<double>(program.batch.seq * program.batch.global_batch); }
};

/// One op that runs.
struct OpCall {
  RankState& rank;
  const Op& op;
  std::span<const TensorUse> uses;
  std::string key;    // text of op.key
  CommReport report;  // filled by communication

  bool is_forward() const { return op.key.pass == Pass::fwd || op.key.pass == Pass::rec; }
  bool is_wgrad() const { return op.key.pass == Pass::wgrad; }
  /// Global layer; -1 for embedding and head, as in Parameter.
  std::int64_t layer() const { return op.key.layer >= 0 ? op.key.layer : -1; }
  RoutedBatch& routed() const { return rank.routing.at(op.key.layer, op.key.micro_batch); }

  /// The tensor of `role` among the op's uses.
  TensorIndex index(TensorRole role) const;
  bool uses_role(TensorRole role) const;
  Matrix tensor(TensorRole role) const { return rank.tensors.matrix(index(role)); }
  template <class T>
  std::span<T> elements(TensorRole role) const {
    return rank.tensors.elements<T>(index(role));
  }
};

/// A linear layer in the pass of the call. Forward and input gradient go sequence by sequence, so that the bits of a
/// row do not depend on how many sequences a micro-batch has. `adds`: dx is added to what is there.
void run_linear(OpCall& call, WeightRole weight, TensorRole x, TensorRole y, TensorRole dx, TensorRole dy,
                bool adds = false);
/// RMSNorm; backward: dx = gradient through the norm + `passing`, the gradient of the residual beside it if any.
void run_norm(OpCall& call, WeightRole weight, TensorRole x, TensorRole y, TensorRole dx, TensorRole dy,
              std::optional<TensorRole> passing);
/// SwiGLU without probabilities.
void run_swiglu(OpCall& call, TensorRole gate_up, TensorRole out, TensorRole d_gate_up, TensorRole d_out);

void run_attention(OpCall& call);  // attn.*
void run_ffn(OpCall& call);        // mlp.*, shared.*
void run_moe(OpCall& call);        // moe.* but the bias
void run_ends(OpCall& call);       // embed.*, head.*
void run_step_end(OpCall& call);   // sync and update passes

/// Before the outputs of moe.dispatch (or, without it, moe.permute) are created: counts of rows that will arrive.
void learn_received_rows(OpCall& call);

}  // namespace orrery::executor
