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

/// Which rows of a micro-batch a gradient's term is made of: all of them, or those of one sequence where terms are
/// whole numbers (docs/design/reproducible.md).
struct RowPart {
  std::int64_t index = 0, count = 1;  // of equal parts

  /// The same part of a matrix whose rows stand sequence by sequence.
  template <class View>
  View of(const View& rows) const {
    return rows.row_block(index * (rows.rows / count), rows.rows / count);
  }
  template <class T>
  std::span<T> of(std::span<T> values) const {
    const std::size_t size = values.size() / static_cast<std::size_t>(count);
    return values.subspan(static_cast<std::size_t>(index) * size, size);
  }
};

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
  /// Calls add_to(f32 matrix of the weight's shape, rows) for the parts whose gradients are terms of the sum; it adds a
  /// part's gradient to what is there.
  template <class Add>
  void accumulate(WeightRole role, Add&& add_to) const {
    const Matrix target = gradient(role);
    const std::int64_t num_parts = adds_by_sequence() ? num_sequences() : 1;
    for (std::int64_t i = 0; i < num_parts; ++i) {
      add_term(target, [&](const Matrix& sum) { add_to(sum, RowPart{i, num_parts}); });
    }
  }
  /// The same for a vector.
  template <class Add>
  void accumulate_vector(WeightRole role, Add&& add_to) const {
    accumulate(role, [&](const Matrix& sum, const RowPart& part) {
      add_to(std::span(static_cast<float*>(sum.first), static_cast<std::size_t>(sum.rows * sum.cols)), part);
    });
  }
  /// Whether a sequence's gradient is a term of its own.
  bool adds_by_sequence() const { return rank.strategy().grad_dtype == DType::i64; }

  /// The gradient of a weight, of whatever type.
  Matrix gradient(WeightRole role) const;
  /// Calls add_to(f32 matrix like `target`), which adds one term to what is there, and adds that to `target`.
  template <class Add>
  void add_term(const Matrix& target, Add&& add_to) const {
    if (target.dtype == DType::f32) {
      add_to(target);
      return;
    }
    const Matrix term = zero_term(target);
    add_to(term);
    add_rounded(term, target);
  }

  /// Adds a further call of the same op to its report.
  void add_report(const CommReport& more);

 private:
  /// f32 zeros in the shape of `target`, there until the next call.
  static Matrix zero_term(const Matrix& target);
  void add_rounded(const Matrix& term, const Matrix& target) const;
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
