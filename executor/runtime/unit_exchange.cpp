// SPDX-License-Identifier: Apache-2.0
// ZeRO 2 and 3 on one unit of the model: every weight of it is cut over the ranks (shard_layout.h). A gather brings
// the pieces together in the unit's tensor; a scatter sums the unit's gradients and leaves each rank its pieces, which
// it adds to those of earlier micro-batches.
#include "base/check.h"
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

/// What an op exchanges.
struct Unit {
  FlatState& state;
  UnitId id;
  std::vector<Piece> pieces = {};           // rank by rank
  std::vector<std::int64_t> per_rank = {};  // elements
  std::int64_t elements = 0;

  FlatBufferKind kind() const { return state.kind().kind; }
  /// Calls work(piece, element among those of its rank) for those of `rank`.
  template <class Work>
  void for_each_of(std::int64_t rank, Work&& work) const {
    std::int64_t next = 0;
    for (const Piece& piece : pieces) {
      if (piece.rank != rank) continue;
      work(piece, next);
      next += piece.count;
    }
  }
};

Unit unit_of_exchange(OpCall& call) {
  FlatState& state = state_of(call);
  const std::int64_t num_ranks = state.shards().num_ranks();
  const OpKey& key = call.op.key;
  Unit unit{.state = state, .id = {.layer = key.layer, .mtp_head = key.bucket == 1, .micro_batch = key.micro_batch}};
  unit.per_rank.resize(static_cast<std::size_t>(num_ranks));
  const std::vector<std::int64_t> parameters = call.rank.weights.parameters_of(unit.kind(), unit.id);
  std::int64_t packed = 0;
  for (std::int64_t rank = 0; rank < num_ranks; ++rank) {
    std::int64_t first = 0;
    for (const std::int64_t parameter : parameters) {
      const OwnedRange& range = state.range_of(parameter, rank);
      unit.pieces.push_back({rank, parameter, range.begin, range.count, first + range.begin, packed});
      packed += range.count;
      unit.per_rank[static_cast<std::size_t>(rank)] += range.count;
      first += state.parameters()[static_cast<std::size_t>(parameter)].size();
    }
    unit.elements = first;
  }
  return unit;
}

/// The tensor of the program that holds all of a unit.
Matrix whole_of(const OpCall& call, const Unit& unit, R dense, R expert) {
  const Matrix whole = as_row(call.tensor(unit.kind() == FlatBufferKind::dense ? dense : expert));
  CHECK(unit.elements == whole.cols, call.key, unit.elements, whole.cols);
  return whole;
}

/// This rank among those that share a unit.
std::int64_t own_index(const OpCall& call, const Unit& unit) {
  return call.rank.program.mesh.index_in_group(unit.state.kind().shard, call.rank.view.rank);
}

/// This rank's sums of a unit on their way over the instances of hybrid sharding.
Matrix sums_of(OpCall& call, const Unit& unit) {
  return scratch_of(unit.state.kind().wire, 1, unit.per_rank[static_cast<std::size_t>(own_index(call, unit))],
                    call.rank.unit_sums[static_cast<std::size_t>(unit.kind())]);
}

/// Adds what has been summed of a unit to the gradients that this rank keeps.
void add_unit_gradients(OpCall& call, const Unit& unit) {
  const Matrix own = sums_of(call, unit);
  unit.for_each_of(own_index(call, unit), [&](const Piece& piece, std::int64_t at) {
    const Matrix target = unit.state.gradients(piece.parameter, piece.begin, piece.count);
    add(target, own.col_block(at, piece.count), target);
  });
}

}  // namespace

void gather_unit_weights(OpCall& call) {
  const Unit unit = unit_of_exchange(call);
  const Matrix whole = whole_of(call, unit, R::layer_weights, R::expert_layer_weights);
  const std::int64_t me = call.group().rank();
  thread_local std::vector<std::byte> own_storage, storage;
  const Matrix own = scratch_of(whole.dtype, 1, unit.per_rank[static_cast<std::size_t>(me)], own_storage);
  unit.for_each_of(me, [&](const Piece& piece, std::int64_t at) {
    convert(unit.state.weights(piece.parameter, piece.begin, piece.count), own.col_block(at, piece.count));
  });
  const Matrix packed = scratch_of(whole.dtype, 1, unit.elements, storage);
  call.report = call.group().all_gather_v(bytes_of(own), bytes_of(packed),
                                          Blocks::contiguous(unit.per_rank, size_of(own.dtype)), call.key);
  for (const Piece& piece : unit.pieces) {
    convert(packed.col_block(piece.in_packed, piece.count), whole.col_block(piece.in_unit, piece.count));
  }
  call.rank.weights.gathered(unit.kind(), unit.id, whole);
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
  const Unit unit = unit_of_exchange(call);
  const Matrix bucket = whole_of(call, unit, R::grad_bucket, R::expert_grad_bucket);
  thread_local std::vector<std::byte> storage;
  const Matrix packed = scratch_of(bucket.dtype, 1, unit.elements, storage);
  for (const Piece& piece : unit.pieces) {
    convert(bucket.col_block(piece.in_unit, piece.count), packed.col_block(piece.in_packed, piece.count));
  }
  const Matrix own = sums_of(call, unit);
  call.report =
      call.group().reduce_scatter_v(sum_type_of(bucket), bytes_of(packed),
                                    Blocks::contiguous(unit.per_rank, size_of(bucket.dtype)), bytes_of(own), call.key);
  // Hybrid sharding sums over the instances before it adds.
  if (call.rank.strategy().num_optimizer_instances == 1) add_unit_gradients(call, unit);
}

void reduce_unit_replicas(OpCall& call) {
  const Unit unit = unit_of_exchange(call);
  call.report = all_reduce(call.group(), sums_of(call, unit), call.key);
  add_unit_gradients(call, unit);
}

}  // namespace orrery::executor
