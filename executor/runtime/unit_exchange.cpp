// SPDX-License-Identifier: Apache-2.0
// ZeRO 2 and 3 on one unit of the model: every weight of it is cut over the ranks (shard_layout.h). A gather brings
// the pieces together in the unit's tensor; a scatter sums the unit's gradients and leaves each rank its pieces, which
// it adds to those of earlier micro-batches.
#include "base/check.h"
#include "executor/comm/uneven.h"
#include "executor/runtime/run_step_end.h"
#include "executor/runtime/run_tensor_parallel.h"

#include <algorithm>

namespace orrery::executor {
namespace {

using R = TensorRole;

/// One piece of a unit: what a rank owns of one weight.
struct Piece {
  std::int64_t rank, parameter, begin, count;
  std::int64_t in_unit;    // element of the unit's tensor
  std::int64_t in_packed;  // element when pieces stand rank by rank
};

struct UnitLayout {
  std::vector<Piece> pieces;           // rank by rank
  std::vector<std::int64_t> per_rank;  // elements
  std::int64_t elements = 0;
};

UnitId unit_of_exchange(const OpCall& call) {
  return {.layer = call.op.key.layer, .mtp_head = call.op.key.bucket == 1, .micro_batch = call.op.key.micro_batch};
}

UnitLayout layout_of(OpCall& call, const UnitId& unit) {
  FlatState& state = state_of(call);
  UnitLayout out{.per_rank = std::vector<std::int64_t>(static_cast<std::size_t>(state.shards().num_ranks()))};
  const std::vector<std::int64_t> parameters = call.rank.weights.parameters_of(state.kind().kind, unit);
  std::int64_t packed = 0;
  for (std::int64_t rank = 0; rank < state.shards().num_ranks(); ++rank) {
    std::int64_t first = 0;
    for (const std::int64_t parameter : parameters) {
      const OwnedRange& range = state.range_of(parameter, rank);
      out.pieces.push_back({rank, parameter, range.begin, range.count, first + range.begin, packed});
      packed += range.count;
      out.per_rank[static_cast<std::size_t>(rank)] += range.count;
      first += state.parameters()[static_cast<std::size_t>(parameter)].size();
    }
    out.elements = first;
  }
  return out;
}

Blocks blocks_of(const UnitLayout& layout, DType dtype) {
  std::vector<std::int64_t> bytes = layout.per_rank;
  for (std::int64_t& size : bytes) size *= size_of(dtype);
  return Blocks::contiguous(std::move(bytes));
}

Matrix as_row(const Matrix& column) { return {column.first, column.dtype, 1, column.rows, column.rows}; }

}  // namespace

void gather_unit_weights(OpCall& call) {
  FlatState& state = state_of(call);
  const bool is_dense = state.kind().kind == FlatBufferKind::dense;
  const Matrix unit_weights = as_row(call.tensor(is_dense ? R::layer_weights : R::expert_layer_weights));
  const UnitId unit = unit_of_exchange(call);
  const UnitLayout layout = layout_of(call, unit);
  CHECK(layout.elements == unit_weights.cols, call.key, layout.elements, unit_weights.cols);
  const std::int64_t me = call.group().rank();
  std::vector<std::byte> own_storage, storage;
  const Matrix own = scratch_of(unit_weights.dtype, 1, layout.per_rank[static_cast<std::size_t>(me)], own_storage);
  std::int64_t next = 0;
  for (const Piece& piece : layout.pieces) {
    if (piece.rank != me) continue;
    convert(state.weights(piece.parameter, piece.begin, piece.count), own.col_block(next, piece.count));
    next += piece.count;
  }
  const Matrix packed = scratch_of(unit_weights.dtype, 1, layout.elements, storage);
  call.report = all_gather_v(call.group(), bytes_of(own), bytes_of(packed), blocks_of(layout, own.dtype), call.key);
  for (const Piece& piece : layout.pieces) {
    convert(packed.col_block(piece.in_packed, piece.count), unit_weights.col_block(piece.in_unit, piece.count));
  }
  call.rank.weights.gathered(state.kind().kind, unit, unit_weights);
}

void start_bucket_of(OpCall& call) {
  for (const FlatBufferKind kind : {FlatBufferKind::dense, FlatBufferKind::expert}) {
    const R role = kind == FlatBufferKind::dense ? R::grad_bucket : R::expert_grad_bucket;
    for (const TensorUse& use : call.uses) {
      if (use.access() != Access::create || call.rank.rank_class.tensors[use.tensor()].role != role) continue;
      call.rank.weights.start_bucket(kind, unit_of(call.op.key), as_row(call.rank.tensors.matrix(use.tensor())));
    }
  }
}

void scatter_unit_gradients(OpCall& call) {
  FlatState& state = state_of(call);
  const bool is_dense = state.kind().kind == FlatBufferKind::dense;
  const Matrix bucket = as_row(call.tensor(is_dense ? R::grad_bucket : R::expert_grad_bucket));
  const UnitId unit = unit_of_exchange(call);
  const UnitLayout layout = layout_of(call, unit);
  CHECK(layout.elements == bucket.cols, call.key, layout.elements, bucket.cols);
  const std::int64_t me = call.group().rank();
  std::vector<std::byte> storage, own_storage;
  const Matrix packed = scratch_of(bucket.dtype, 1, layout.elements, storage);
  for (const Piece& piece : layout.pieces) {
    convert(bucket.col_block(piece.in_unit, piece.count), packed.col_block(piece.in_packed, piece.count));
  }
  const Matrix own = scratch_of(bucket.dtype, 1, layout.per_rank[static_cast<std::size_t>(me)], own_storage);
  call.report = reduce_scatter_v(call.group(), sum_type_of(bucket), bytes_of(packed), blocks_of(layout, bucket.dtype),
                                 bytes_of(own), call.key);
  // Hybrid sharding sums over the instances before it adds.
  std::vector<std::byte>& waiting = call.rank.unit_sums[static_cast<std::size_t>(state.kind().kind)];
  waiting.assign(bytes_of(own).begin(), bytes_of(own).end());
  if (call.rank.strategy().num_optimizer_instances == 1) add_unit_gradients(call);
}

void add_unit_gradients(OpCall& call) {
  FlatState& state = state_of(call);
  std::vector<std::byte>& sums = call.rank.unit_sums[static_cast<std::size_t>(state.kind().kind)];
  const auto count = static_cast<std::int64_t>(sums.size()) / size_of(state.kind().wire);
  const Matrix own{sums.data(), state.kind().wire, 1, count, count};
  std::int64_t next = 0;
  const std::int64_t me = call.rank.program.mesh.index_in_group(state.kind().shard, call.rank.view.rank);
  for (const Piece& piece : layout_of(call, unit_of_exchange(call)).pieces) {
    if (piece.rank != me) continue;
    const Matrix target = state.gradients(piece.parameter, piece.begin, piece.count);
    add(target, own.col_block(next, piece.count), target);
    next += piece.count;
  }
}

void reduce_unit_replicas(OpCall& call) {
  FlatState& state = state_of(call);
  std::vector<std::byte>& sums = call.rank.unit_sums[static_cast<std::size_t>(state.kind().kind)];
  const auto count = static_cast<std::int64_t>(sums.size()) / size_of(state.kind().wire);
  call.report = all_reduce(call.group(), {sums.data(), state.kind().wire, 1, count, count}, call.key);
  add_unit_gradients(call);
}

}  // namespace orrery::executor
