// SPDX-License-Identifier: Apache-2.0
// A table of what every op of a block creates and what it reads: docs/design/ops.md written as data, in bytes of one
// micro-batch on one rank. A block is one half of a layer or one end of the model. The tables know nothing of the
// lowering; from them follow how long each tensor lives and what a layer needs at its fullest moment
// (costmodel/tensor_lives.h). That a program's own tensors agree is tested by replaying them.
#pragma once

#include "costmodel/memory.h"
#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace orrery::costmodel {

/// When an op runs. `gathered_again`: a collective that brings back an input for the weight gradient, enqueued before
/// the input gradient of the same product.
enum class TablePhase : std::uint8_t { forward, input_grad, gathered_again, weight_grad };

/// What a tensor is called, and at which layer: 0 the layer itself, 1 the one behind it, -1 the one before.
struct At {
  constexpr At(TensorRole the_role, int the_offset = 0) : role(the_role), offset(the_offset) {}
  TensorRole role;
  int offset;
};

/// A tensor that an op creates.
struct Made {
  Made(At the_name, double the_bytes) : name(the_name), bytes(the_bytes) {}
  At name;
  double bytes;
};

struct TableUse {
  TensorRole role;
  std::int8_t offset = 0;
  bool creates = false;
  double bytes = 0.0;
};

struct TableLine {
  TablePhase phase = TablePhase::forward;
  bool exchange = false;  // on the queue of dispatch and combine
  bool residual = false;  // the last line of a half layer, which no recomputation runs again
  /// Module that runs this line again; `full` for those that only whole-layer recomputation does.
  RecomputeModule module = RecomputeModule::full;
  std::uint16_t begin = 0, end = 0;  // of its uses
};

/// The lines of a block: the forward in order; and both gradients in the order of a whole backward.
class TensorTable {
 public:
  TensorTable();

  using Reads = std::initializer_list<At>;
  using Makes = std::initializer_list<Made>;

  void forward(Reads reads, Makes makes, RecomputeModule module = RecomputeModule::full) {
    add(forward_, TablePhase::forward, reads, makes, module);
  }
  void input_grad(Reads reads, Makes makes) { add(backward_, TablePhase::input_grad, reads, makes); }
  void gather_again(Reads reads, Makes makes) { add(backward_, TablePhase::gathered_again, reads, makes); }
  void weight_grad(Reads reads, Makes makes = {}) { add(backward_, TablePhase::weight_grad, reads, makes); }

  /// Of the line added last.
  void is_exchange() { last_->back().exchange = true; }
  void is_residual() { last_->back().residual = true; }

  const std::vector<TableLine>& forward_lines() const { return forward_; }
  const std::vector<TableLine>& backward_lines() const { return backward_; }
  const TableUse* uses() const { return uses_.data(); }

 private:
  void add(std::vector<TableLine>& lines, TablePhase phase, Reads reads, Makes makes,
           RecomputeModule module = RecomputeModule::full);

  std::vector<TableLine> forward_, backward_;
  std::vector<TableUse> uses_;
  std::vector<TableLine>* last_ = nullptr;
};

/// Sizes that all tables share. Bytes are of one micro-batch on one rank.
class TableSizes {
 public:
  TableSizes(const Model& model, const Strategy& strategy, const BatchShape& batch, const MemoryModel& parameters);

  const Model& model;
  const Strategy& strategy;
  const MemoryModel& parameters;
  const std::int64_t tp, cp;
  const double tokens;         // [T] = b s / c: between a gather and a scatter of tensor parallelism
  const double stream_tokens;  // of the residual stream: T / t with sequence parallelism
  const double element;        // bytes of an element of weights and the residual stream

  bool sequence_parallel() const { return strategy.sp && tp > 1; }
  /// Slices into which gathers, products and scatters are cut.
  int slices() const { return strategy.overlap.tp && sequence_parallel() ? static_cast<int>(tp) : 1; }
  /// `rows` of `width` elements.
  double plain(double rows, std::int64_t width) const { return rows * static_cast<double>(width) * element; }
  /// The same as operand of a linear layer: fp8 with its scales if the strategy multiplies in fp8.
  double operand(double rows, std::int64_t width) const;
  /// What an activation function keeps of `rows` of `width` elements in fp8, with their scales.
  double activation_input(double rows, std::int64_t width) const;
  bool fp8() const { return strategy.precision == DType::fp8; }
  /// A row of the residual stream for each of its tokens.
  double stream() const { return plain(stream_tokens, model.hidden); }
};

/// A product whose outputs are divided over the TP group, and one whose inputs are. With sequence parallelism the first
/// gathers its input and the second scatters its partial sums.
struct ColumnProduct {
  TensorRole in, full, out;           // input, gathered input, output
  TensorRole d_out, d_part, d_in;     // their gradients; d_part: partial sums of the input's
  std::int64_t width = 0, inner = 0;  // of the output on this rank, and of the input
  double full_bytes = 0.0;            // of the gathered input
  bool adds = false;                  // another product has made d_in
  RecomputeModule module = RecomputeModule::full;
};
struct RowProduct {
  TensorRole in, part, out;
  At d_out;  // gradient of the output
  TensorRole d_full, d_in;
  std::int64_t width = 0, inner = 0;  // of the output, and of the input on this rank
  RecomputeModule module = RecomputeModule::full;
};
void add_forward(const TableSizes& sizes, const ColumnProduct& product, TensorTable& table);
void add_gradients(const TableSizes& sizes, const ColumnProduct& product, TensorTable& table);
void add_forward(const TableSizes& sizes, const RowProduct& product, TensorTable& table);
void add_gradients(const TableSizes& sizes, const RowProduct& product, TensorTable& table);

/// The tables. `adds`: a gradient of the hidden states is there already, to which this block adds.
TensorTable attention_table(const TableSizes& sizes);
TensorTable dense_table(const TableSizes& sizes);
TensorTable moe_table(const TableSizes& sizes);
TensorTable embedding_table(const TableSizes& sizes);
TensorTable head_table(const TableSizes& sizes, bool adds);
TensorTable mtp_table(const TableSizes& sizes, bool adds);

}  // namespace orrery::costmodel
