// SPDX-License-Identifier: Apache-2.0
// Gradients and weights in buckets (gradient_buckets.h): what the ops at the end of a step do at once, part by part,
// while the step runs.
#include "base/check.h"
#include "executor/runtime/run_step_end.h"
#include "executor/runtime/run_tensor_parallel.h"

namespace orrery::executor {
namespace {

using Bucket = GradientBuckets::Bucket;
using Piece = GradientBuckets::Piece;

const Bucket& bucket_of(OpCall& call) {
  const std::span<const Bucket> buckets = call.rank.buckets_of(state_of(call)).buckets();
  const auto index = static_cast<std::size_t>(call.op.key.bucket);
  CHECK(index < buckets.size(), call.key, buckets.size());
  return buckets[index];
}

/// This rank among those that share the bucket.
std::size_t own_index(OpCall& call) {
  const Group shard = state_of(call).kind().shard;
  return static_cast<std::size_t>(call.rank.program.mesh.index_in_group(shard, call.rank.view.rank));
}

/// A row of so many elements; the padding behind the last bucket adds nothing.
Matrix message_of(DType dtype, std::int64_t count, std::vector<std::byte>& storage) {
  const Matrix message = scratch_of(dtype, 1, count, storage);
  fill_zero(message);
  return message;
}

/// Calls work(piece, its place in `message`), of which element `first` of the bucket is the first one.
template <class Work>
void for_each(std::span<const Piece> pieces, const Matrix& message, std::int64_t first, Work&& work) {
  for (const Piece& piece : pieces) work(piece, message.col_block(piece.at - first, piece.count));
}

/// Copies gradients to the message, or back.
void pack(FlatState& state, std::span<const Piece> pieces, const Matrix& message, std::int64_t first = 0) {
  for_each(pieces, message, first, [&](const Piece& piece, const Matrix& place) {
    convert(state.gradients(piece.parameter, piece.begin, piece.count), place);
  });
}
void unpack(FlatState& state, std::span<const Piece> pieces, const Matrix& message, std::int64_t first = 0) {
  for_each(pieces, message, first, [&](const Piece& piece, const Matrix& place) {
    convert(place, state.gradients(piece.parameter, piece.begin, piece.count));
  });
}

Blocks blocks_of(const Bucket& bucket, DType dtype) { return Blocks::contiguous(bucket.per_rank, size_of(dtype)); }

}  // namespace

bool is_bucket(OpCall& call) {
  const bool is_one = call.op.key.bucket >= 0 && call.op.key.micro_batch < 0;
  return is_one && call.rank.strategy().overlap.dp_buckets;
}

void scatter_bucket(OpCall& call) {
  FlatState& state = state_of(call);
  const Bucket& bucket = bucket_of(call);
  const std::size_t me = own_index(call);
  thread_local std::vector<std::byte> storage, own_storage;
  const Matrix all = message_of(state.kind().wire, bucket.size(), storage);
  for (const std::vector<Piece>& pieces : bucket.of_rank) pack(state, pieces, all);
  const Matrix own = scratch_of(all.dtype, 1, bucket.per_rank[me], own_storage);
  call.report = call.group().reduce_scatter_v(sum_type_of(all), bytes_of(all), blocks_of(bucket, all.dtype),
                                              bytes_of(own), call.key);
  unpack(state, bucket.of_rank[me], own, bucket.first_of(static_cast<std::int64_t>(me)));
}

void reduce_bucket(OpCall& call) {
  FlatState& state = state_of(call);
  const Bucket& bucket = bucket_of(call);
  thread_local std::vector<std::byte> storage;
  const Matrix all = message_of(state.kind().wire, bucket.size(), storage);
  for (const std::vector<Piece>& pieces : bucket.of_rank) pack(state, pieces, all);
  call.report = all_reduce(call.group(), all, call.key);
  for (const std::vector<Piece>& pieces : bucket.of_rank) unpack(state, pieces, all);
}

void reduce_bucket_replicas(OpCall& call) {
  FlatState& state = state_of(call);
  const Bucket& bucket = bucket_of(call);
  const std::size_t me = own_index(call);
  const std::int64_t first = bucket.first_of(static_cast<std::int64_t>(me));
  thread_local std::vector<std::byte> storage;
  const Matrix own = message_of(state.kind().wire, bucket.per_rank[me], storage);
  pack(state, bucket.of_rank[me], own, first);
  call.report = all_reduce(call.group(), own, call.key);
  unpack(state, bucket.of_rank[me], own, first);
}

void gather_bucket(OpCall& call) {
  FlatState& state = state_of(call);
  const Bucket& bucket = bucket_of(call);
  const std::size_t me = own_index(call);
  thread_local std::vector<std::byte> storage, own_storage;
  const Matrix own = message_of(state.kind().weight, bucket.per_rank[me], own_storage);
  const auto weights_of = [&](const Piece& piece) { return state.weights(piece.parameter, piece.begin, piece.count); };
  for_each(bucket.of_rank[me], own, bucket.first_of(static_cast<std::int64_t>(me)),
           [&](const Piece& piece, const Matrix& place) { convert(weights_of(piece), place); });
  const Matrix all = scratch_of(own.dtype, 1, bucket.size(), storage);
  call.report = call.group().all_gather_v(bytes_of(own), bytes_of(all), blocks_of(bucket, own.dtype), call.key);
  for (const std::vector<Piece>& pieces : bucket.of_rank) {
    for_each(pieces, all, 0, [&](const Piece& piece, const Matrix& place) { convert(place, weights_of(piece)); });
  }
}

}  // namespace orrery::executor
