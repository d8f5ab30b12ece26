// SPDX-License-Identifier: Apache-2.0
// One op as its function sees it. Most functions take their operands by place, in the order of docs/design/ops.md, so
// that one function serves a product wherever it stands and however its rows are divided; weights and buckets of
// gradients that ZeRO 2 and 3 add to an op are no operands.
#pragma once

#include "executor/kernels/elementwise.h"
#include "executor/runtime/rank_state.h"

#include <string>
#include <vector>

namespace orrery::executor {

/// One op that runs.
struct OpCall {
  RankState& rank;
  const Op& op;
  std::span<const TensorUse> uses;
  std::string key;         // text of op.key
  CommReport report = {};  // filled by communication

  bool is_forward() const { return op.key.pass == Pass::fwd || op.key.pass == Pass::rec; }
  bool is_wgrad() const { return op.key.pass == Pass::wgrad; }
  std::int64_t layer() const { return op.key.layer; }
  const OpShape& shape() const { return rank.program.shapes[op.shape]; }
  RoutedBatch& routed() const { return rank.routing.at(op.key.layer, op.key.micro_batch); }
  Communicator& group() const { return rank.groups.of(op); }
  /// Sequences of a micro-batch, and rows of one of them in a tensor of tokens.
  std::int64_t num_sequences() const { return rank.strategy().micro_batch; }

  /// The operand at `place`: 0 is the first, -1 the last.
  const TensorUse& use(int place) const;
  Matrix operand(int place) const { return rank.tensors.matrix(use(place).tensor()); }
  int num_operands() const;
  /// Whether the op adds to its last operand, which another op has created.
  bool modifies_last() const { return use(-1).access() == Access::modify; }

  /// The tensor of `role` among the op's uses.
  TensorIndex index(TensorRole role) const;
  bool uses_role(TensorRole role) const;
  Matrix tensor(TensorRole role) const { return rank.tensors.matrix(index(role)); }
  template <class T>
  std::span<T> elements(TensorRole role) const {
    return rank.tensors.elements<T>(index(role));
  }

  /// A tensor of one f32 value for each row.
  Matrix column(TensorRole role) const {
    const std::span<float> values = elements<float>(role);
    return matrix_of(values.data(), static_cast<std::int64_t>(values.size()), 1);
  }

  /// The weight of `role` in the op's layer, or at its end of the model.
  ConstMatrix weight(WeightRole role) const;
  bool has_weight(WeightRole role) const;
  /// Calls add(f32 matrix of the weight's shape), which adds a gradient to what is there.
  template <class Add>
  void accumulate(WeightRole role, Add&& add_to) const {
    const Matrix target = gradient(role);
    if (target.dtype == DType::f32) {
      add_to(target);
      return;
    }
    std::vector<float> sum(static_cast<std::size_t>(target.rows * target.cols));
    const Matrix wide = matrix_of(sum.data(), target.rows, target.cols);
    add_to(wide);
    add(target, wide, target);
  }
  /// The same for a vector.
  template <class Add>
  void accumulate_vector(WeightRole role, Add&& add_to) const {
    accumulate(role, [&](const Matrix& sum) {
      add_to(std::span(static_cast<float*>(sum.first), static_cast<std::size_t>(sum.rows * sum.cols)));
    });
  }

  /// Adds a further call of the same op to its report.
  void add_report(const CommReport& more);

 private:
  Matrix gradient(WeightRole role) const;
  std::int64_t layer_of(WeightRole role) const;
};

using OpFunction = void (*)(OpCall&);

/// Whether a tensor holds whole weights or gradients of a unit.
bool is_of_unit(TensorRole role);

/// The function of an op that is no message between stages.
OpFunction function_of(OpCode op);

/// Before the outputs of an op that moves rows to the experts are created: how many rows there will be.
void learn_arriving_rows(OpCall& call);

}  // namespace orrery::executor
