// SPDX-License-Identifier: Apache-2.0
// Functions of ops that stand in many places: products, norms, activations, sums. A row of function_of()'s table says
// which weight is meant.
#pragma once

#include "executor/runtime/op_call.h"

#include <optional>

namespace orrery::executor {

/// A linear layer in the pass of the call: x -> y; dy -> dx, which is added to what is there where the op modifies it;
/// x, dy -> gradient of the weight. Forward and input gradient go sequence by sequence, so that the bits of a row do
/// not depend on how many sequences a micro-batch has. One operand may be a slice of the other's rows: those of one
/// rank of the TP group. `bias`: where the model has one.
void run_linear(OpCall& call, WeightRole weight, std::optional<WeightRole> bias = std::nullopt);
/// The same where partial sums of the TP group become the output, and the bias is added to the sum.
void run_row_parallel(OpCall& call, WeightRole weight, std::optional<WeightRole> bias = std::nullopt);
/// RMSNorm: x -> y; x, dy and the gradient of the residual beside the norm, if any, -> dx.
void run_norm(OpCall& call, WeightRole weight);
/// SwiGLU without probabilities: x -> y; x, dy -> dx.
void run_swiglu(OpCall& call);
/// The sum of all operands but the last is the last.
void run_sum(OpCall& call);

/// Where rows of one sequence begin in a tensor, and how many there are: of the whole sequence, or of the part that the
/// rank `slice` of the TP group has of it.
struct SequenceRows {
  std::int64_t first = 0, count = 0;
};
SequenceRows sequence_rows(const OpCall& call, std::int64_t sequence, std::int64_t rows, std::int64_t fewest_rows);

}  // namespace orrery::executor
