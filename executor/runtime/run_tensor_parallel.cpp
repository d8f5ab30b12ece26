// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/run_tensor_parallel.h"

#include "base/check.h"
#include "executor/kernels/bias.h"

#include <vector>

namespace orrery::executor {
namespace {

/// Moves rows between whole sequences, where the ranks' parts of each stand side by side, and an order rank by rank.
/// `whole` may be wider than what is moved.
template <class Move>
void for_each_part(const OpCall& call, std::int64_t rows, Move&& move) {
  const std::int64_t tp = call.rank.strategy().tp, part = rows / tp / call.num_sequences();
  for (std::int64_t member = 0; member < tp; ++member) {
    for (std::int64_t i = 0; i < call.num_sequences(); ++i) {
      move((i * tp + member) * part, (member * call.num_sequences() + i) * part, part);
    }
  }
}

/// Whether the call moves the rows of one rank only (Overlap::tp): slice j is those of rank j.
bool is_slice(const OpCall& call) { return call.op.key.bucket >= 0; }

/// One block of bytes for the rank whose slice it is, none for the others.
Blocks slice_blocks(const OpCall& call, std::int64_t bytes) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(call.group().size()));
  counts[static_cast<std::size_t>(call.op.key.bucket)] = bytes;
  return Blocks::contiguous(std::move(counts));
}

/// What of this rank's rows travels: of MLA's latent, the key that heads share.
Matrix travelling(const OpCall& call, const Matrix& rows) {
  if (call.op.key.op != OpCode::tp_k_rope) return rows;
  const std::int64_t width = std::get<MultiHeadLatentAttention>(call.rank.model().attention).qk_rope_dim;
  return rows.col_block(rows.cols - width, width);
}

void gather(OpCall& call) {
  thread_local std::vector<std::byte> own_storage, storage;
  const Matrix full = call.operand(-1), source = travelling(call, call.operand(0));
  const Matrix own = scratch_of(source.dtype, source.rows, source.cols, own_storage);
  convert(source, own);
  if (is_slice(call)) {
    const bool mine = call.group().rank() == call.op.key.bucket;
    const std::span<std::byte> sent = mine ? bytes_of(own) : std::span<std::byte>();
    call.report = call.group().all_gather_v(
        sent, bytes_of(full), slice_blocks(call, static_cast<std::int64_t>(bytes_of(full).size())), call.key);
    return;
  }
  const Matrix by_rank = scratch_like(full, storage);
  call.report = call.group().all_gather(bytes_of(own), bytes_of(by_rank), call.key);
  for_each_part(call, full.rows, [&](std::int64_t whole, std::int64_t there, std::int64_t count) {
    convert(by_rank.row_block(there, count), full.row_block(whole, count));
  });
}

/// Whether the sum is added to a gradient that another layer has made (ColumnParallel::adds_to_d_in).
bool adds_to_gradient(const OpCall& call) {
  if (call.op.key.pass != Pass::igrad) return false;
  const bool is_shared = call.op.key.op == OpCode::tp_shared_in;
  return is_shared || (call.op.key.op == OpCode::tp_attn_in && call.rank.model().is_mla());
}

void scatter(OpCall& call) {
  thread_local std::vector<std::byte> storage, sums;
  const Matrix part = call.operand(0), target = travelling(call, call.operand(-1));
  const bool here = !is_slice(call) || call.group().rank() == call.op.key.bucket;
  const Matrix sum = scratch_of(target.dtype, here ? target.rows : 0, target.cols, sums);
  if (is_slice(call)) {
    call.report = call.group().reduce_scatter_v(sum_type_of(part), bytes_of(part),
                                                slice_blocks(call, static_cast<std::int64_t>(bytes_of(part).size())),
                                                bytes_of(sum), call.key);
  } else {
    const Matrix by_rank = scratch_like(part, storage);
    for_each_part(call, part.rows, [&](std::int64_t whole, std::int64_t there, std::int64_t count) {
      convert(part.row_block(whole, count), by_rank.row_block(there, count));
    });
    call.report = call.group().reduce_scatter(sum_type_of(part), bytes_of(by_rank), bytes_of(sum), call.key);
  }
  if (!here) return;
  if (call.op.key.op == OpCode::tp_k_rope) fill_zero(call.operand(-1));  // the latent's part comes behind its norm
  adds_to_gradient(call) ? add(target, sum, target) : convert(sum, target);
}

void reduce(OpCall& call) {
  const Matrix part = call.operand(0);
  call.report = all_reduce(call.group(), part, call.key);
  if (call.num_operands() > 1) add(call.operand(-1), part, call.operand(-1));
}

WeightRole bias_behind(OpCode op) {
  return op == OpCode::tp_attn_out ? WeightRole::attn_out_bias : WeightRole::mlp_fc2_bias;
}

}  // namespace

SumType sum_type_of(const Matrix& values) {
  if (values.dtype == DType::i64) return SumType::int64;
  return values.dtype == DType::f32 ? SumType::f32 : SumType::bf16;
}

CommReport all_reduce(Communicator& group, const Matrix& values, std::string_view key) {
  const auto count = static_cast<std::size_t>(values.rows * values.cols);
  if (values.dtype == DType::f32) return group.all_reduce(std::span(static_cast<float*>(values.first), count), key);
  if (values.dtype == DType::i64) {
    return group.all_reduce(std::span(static_cast<std::int64_t*>(values.first), count), key);
  }
  CHECK(values.dtype == DType::bf16, name_of(values.dtype), key);
  return group.all_reduce(std::span(static_cast<bf16*>(values.first), count), key);
}

void run_tp_rows(OpCall& call) {
  switch (std::get<CollectiveShape>(call.shape()).kind) {
    case CollectiveKind::all_gather:
      return gather(call);
    case CollectiveKind::reduce_scatter:
      return scatter(call);
    case CollectiveKind::all_reduce:
      return reduce(call);
    case CollectiveKind::all_to_all:
    case CollectiveKind::ring_shift:
      break;
  }
  CHECK(false, call.key);
}

void run_tp_out(OpCall& call) {
  run_tp_rows(call);
  const WeightRole bias = bias_behind(call.op.key.op);
  const bool here = !is_slice(call) || call.group().rank() == call.op.key.bucket;
  if (call.is_forward() && here && call.has_weight(bias)) add_bias(call.weight(bias), call.operand(-1));
}

void run_tp_loss_max(OpCall& call) {
  const Matrix largest = call.operand(0);
  const std::span<float> values(static_cast<float*>(largest.first), static_cast<std::size_t>(largest.rows));
  call.report = call.group().all_reduce_largest(values, call.key);
}

}  // namespace orrery::executor
