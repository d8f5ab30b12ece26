// SPDX-License-Identifier: Apache-2.0
// What a context-parallel group exchanges. Tokens of a sequence are dealt in zigzag order; whoever has those of the
// whole group keeps them in the order of the sequence, so that a query sees an interval of keys.
#include "base/check.h"
#include "executor/runtime/run_attention.h"

#include <vector>

namespace orrery::executor {
namespace {

using R = TensorRole;

/// Calls move(row of the whole sequences, row of the rows that stand rank by rank), whole rows at a time.
template <class Move>
void for_each_row(const OpCall& call, Move&& move) {
  const std::int64_t cp = call.rank.strategy().cp, seq = call.rank.seq(), own = seq / cp;
  for (std::int64_t member = 0; member < cp; ++member) {
    const std::vector<std::int64_t> positions = zigzag_positions(seq, cp, member);
    for (std::int64_t i = 0; i < call.num_sequences(); ++i) {
      for (std::int64_t j = 0; j < own; ++j) {
        move(i * seq + positions[static_cast<std::size_t>(j)], (member * call.num_sequences() + i) * own + j);
      }
    }
  }
}

Matrix row(const Matrix& rows, std::int64_t index) { return rows.row_block(index, 1); }

/// This rank's keys beside its values, as they travel.
Matrix own_keys_and_values(const OpCall& call, std::vector<std::byte>& storage) {
  const QkvRows<Matrix> own = qkv_of(call);
  const Matrix packed = scratch_of(own.k.dtype, own.k.rows, own.k.cols + own.v.cols, storage);
  convert(own.k, packed.col_block(0, own.k.cols));
  convert(own.v, packed.col_block(own.k.cols, own.v.cols));
  return packed;
}

/// Sends `out` to the next rank of the group and receives from the one before.
void shift(OpCall& call, const Matrix& out, const Matrix& in) {
  Communicator& group = call.group();
  const auto n = static_cast<std::size_t>(group.size()), me = static_cast<std::size_t>(group.rank());
  Blocks sends{std::vector<std::int64_t>(n, 0), std::vector<std::int64_t>(n, 0)}, receives = sends;
  sends.counts[(me + 1) % n] = static_cast<std::int64_t>(bytes_of(out).size());
  receives.counts[(me + n - 1) % n] = static_cast<std::int64_t>(bytes_of(in).size());
  call.report = group.all_to_all_v(bytes_of(out), sends, bytes_of(in), receives, call.key);
}

/// Columns of this rank's tokens that belong to the heads of member `member` of the group.
using ColumnsOf = std::vector<std::vector<Matrix>>;

ColumnsOf columns_by_member(const OpCall& call, const std::vector<Matrix>& parts) {
  const std::int64_t cp = call.rank.strategy().cp;
  ColumnsOf columns(static_cast<std::size_t>(cp));
  for (std::int64_t member = 0; member < cp; ++member) {
    for (const Matrix& part : parts) {
      const std::int64_t share = part.cols / cp;
      columns[static_cast<std::size_t>(member)].push_back(part.col_block(member * share, share));
    }
  }
  return columns;
}

/// Heads of all become the whole sequences of a few: `columns` of this rank's tokens -> `whole`.
void exchange_to_heads(OpCall& call, const ColumnsOf& columns, const Matrix& whole) {
  thread_local std::vector<std::byte> out_storage, in_storage;
  const Matrix out = scratch_like(whole, out_storage), in = scratch_like(whole, in_storage);
  const auto cp = static_cast<std::int64_t>(columns.size());
  const std::int64_t rows = whole.rows / cp;
  for (std::int64_t member = 0; member < cp; ++member) {
    std::int64_t first = 0;
    for (const Matrix& part : columns[static_cast<std::size_t>(member)]) {
      convert(part, out.row_block(member * rows, rows).col_block(first, part.cols));
      first += part.cols;
    }
  }
  const Blocks blocks = Blocks::even(cp, rows * whole.cols * size_of(whole.dtype));
  call.report = call.group().all_to_all_v(bytes_of(out), blocks, bytes_of(in), blocks, call.key);
  for_each_row(call, [&](std::int64_t at, std::int64_t there) { convert(row(in, there), row(whole, at)); });
}

/// The way back.
void exchange_to_tokens(OpCall& call, const Matrix& whole, const ColumnsOf& columns) {
  thread_local std::vector<std::byte> out_storage, in_storage;
  const Matrix out = scratch_like(whole, out_storage), in = scratch_like(whole, in_storage);
  const auto cp = static_cast<std::int64_t>(columns.size());
  const std::int64_t rows = whole.rows / cp;
  for_each_row(call, [&](std::int64_t at, std::int64_t there) { convert(row(whole, at), row(out, there)); });
  const Blocks blocks = Blocks::even(cp, rows * whole.cols * size_of(whole.dtype));
  call.report = call.group().all_to_all_v(bytes_of(out), blocks, bytes_of(in), blocks, call.key);
  for (std::int64_t member = 0; member < cp; ++member) {
    std::int64_t first = 0;
    for (const Matrix& part : columns[static_cast<std::size_t>(member)]) {
      convert(in.row_block(member * rows, rows).col_block(first, part.cols), part);
      first += part.cols;
    }
  }
}

}  // namespace

void run_cp_kv(OpCall& call) {
  thread_local std::vector<std::byte> storage, gathered;
  if (call.op.key.bucket >= 0) {  // a hop of the ring
    const std::int64_t round = call.op.key.bucket;
    const Matrix out =
        round == 0 ? own_keys_and_values(call, storage) : call.tensor(round % 2 == 1 ? R::ring_kv : R::ring_kv_next);
    shift(call, out, call.operand(-1));
    return;
  }
  const Matrix own = own_keys_and_values(call, storage), full = call.tensor(R::kv_full);
  const Matrix by_rank = scratch_like(full, gathered);
  call.report = call.group().all_gather(bytes_of(own), bytes_of(by_rank), call.key);
  for_each_row(call, [&](std::int64_t whole, std::int64_t there) { convert(row(by_rank, there), row(full, whole)); });
}

void run_cp_dkv(OpCall& call) {
  thread_local std::vector<std::byte> storage, sums;
  const QkvRows<Matrix> own = call.modifies_last() ? qkv_gradients_of(call) : QkvRows<Matrix>{};
  const auto add_to_own = [&](const Matrix& packed) {
    add(own.k, packed.col_block(0, own.k.cols), own.k);
    add(own.v, packed.col_block(own.k.cols, own.v.cols), own.v);
  };
  if (call.uses_role(R::d_kv_full)) {
    const Matrix full = call.tensor(R::d_kv_full), by_rank = scratch_like(full, storage);
    for_each_row(call, [&](std::int64_t whole, std::int64_t there) { convert(row(full, whole), row(by_rank, there)); });
    const Matrix sum = scratch_of(full.dtype, full.rows / call.rank.strategy().cp, full.cols, sums);
    const Blocks even = Blocks::even(call.group().size(), static_cast<std::int64_t>(bytes_of(sum).size()));
    call.report = call.group().reduce_scatter_v(full.dtype == DType::f32 ? SumType::f32 : SumType::bf16,
                                                bytes_of(by_rank), even, bytes_of(sum), call.key);
    add_to_own(sum);
    return;
  }
  // What has been summed on the way travels on with this rank's part; the last hop brings it home.
  const Matrix part = call.tensor(R::ring_dkv_part), out = scratch_like(part, storage);
  convert(part, out);
  if (call.op.key.bucket > 1) add(call.operand(1), part, out);
  if (!call.modifies_last()) {
    shift(call, out, call.operand(-1));
    return;
  }
  const Matrix home = scratch_like(part, sums);
  shift(call, out, home);
  add_to_own(home);
}

void run_cp_exchange(OpCall& call) {
  const bool is_in = call.op.key.op == OpCode::cp_in;
  if (call.is_forward()) {
    if (is_in) {
      const QkvRows<Matrix> own = qkv_of(call);
      exchange_to_heads(call, columns_by_member(call, {own.q, own.k, own.v}), call.tensor(R::core_in));
    } else {
      exchange_to_tokens(call, call.tensor(R::core_out), columns_by_member(call, {call.tensor(R::attn_out)}));
    }
  } else if (is_in) {
    const QkvRows<Matrix> own = qkv_gradients_of(call);
    exchange_to_tokens(call, call.tensor(R::d_core_in), columns_by_member(call, {own.q, own.k, own.v}));
  } else {
    exchange_to_heads(call, columns_by_member(call, {call.tensor(R::d_attn_out)}), call.tensor(R::d_core_out));
  }
}

}  // namespace orrery::executor
