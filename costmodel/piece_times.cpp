// SPDX-License-Identifier: Apache-2.0
#include "costmodel/piece_times.h"

#include <utility>

namespace orrery::costmodel {

PieceTimes::Key PieceTimes::key_of(Piece piece, const AttentionSpan& span, const Strategy& s,
                                   const ClosedTimer& timer) {
  const bool moe = piece == Piece::moe;
  const auto number = [](auto value) { return static_cast<std::int64_t>(value); };
  return {piece,
          span,
          {s.tp, number(s.sp), s.cp, number(s.cp_kind), s.micro_batch, number(s.overlap.tp), number(s.cuda_graphs),
           number(s.precision), number(s.fp8_recipe), number(s.fp8_activation_input), number(s.grad_dtype),
           moe ? s.ep : 1, moe ? s.etp : 1, moe ? number(s.dispatcher) : 0},
          moe ? s.capacity_factor : std::nullopt,
          timer.held()};
}

std::size_t PieceTimes::Hash::operator()(const Key& key) const {
  std::size_t hash =
      static_cast<std::size_t>(std::get<0>(key)) + 16 * static_cast<std::size_t>(std::get<1>(key).window);
  for (const std::int64_t number : std::get<2>(key)) {
    hash = (hash ^ static_cast<std::size_t>(number)) * 0x9e3779b97f4a7c15U;
    hash ^= hash >> 32U;
  }
  return hash;
}

PieceTimes::Times& PieceTimes::times_of(Piece piece, const AttentionSpan& span, const Strategy& strategy,
                                        const ClosedTimer& timer) {
  const Key key = key_of(piece, span, strategy, timer);
  const auto found = times_.find(key);
  if (found != times_.end()) return found->second;
  if (times_.size() == kMost) times_.clear();
  return times_[key];
}

std::vector<LayerOp> PieceTimes::ops_of(Piece piece, const AttentionSpan& span, const Strategy& strategy) const {
  switch (piece) {
    case Piece::attention:
      return attention_ops(model_, strategy, batch_, span);
    case Piece::dense:
      return feed_forward_ops(model_, strategy, batch_, LayerKind::dense);
    case Piece::moe:
      return feed_forward_ops(model_, strategy, batch_, LayerKind::moe);
    case Piece::embedding:
      return embedding_ops(model_, strategy, batch_);
    case Piece::mtp:
    case Piece::mtp_apart:
      return mtp_ops(model_, strategy, batch_, piece == Piece::mtp_apart);
    case Piece::mtp_lookup: {
      std::vector<LayerOp> ops = mtp_ops(model_, strategy, batch_, false);
      std::erase_if(ops, [](const LayerOp& op) {
        return op.pass != Pass::fwd || (op.op != OpCode::mtp_embed && op.op != OpCode::tp_embed);
      });
      return ops;
    }
    case Piece::head:
    case Piece::head_behind_mtp:
      return head_ops(model_, strategy, batch_, piece == Piece::head_behind_mtp);
  }
  return {};
}

const BlockTimes& PieceTimes::once(Piece piece, const AttentionSpan& span, const Strategy& strategy,
                                   ClosedTimer& timer) {
  Times& times = times_of(piece, span, strategy, timer);
  if (!times.once) times.once = block_times(ops_of(piece, span, strategy), timer);
  return *times.once;
}

const BlockTimes& PieceTimes::again(Piece piece, OpPart part, const AttentionSpan& span, const Strategy& strategy,
                                    ClosedTimer& timer) {
  Times& times = times_of(piece, span, strategy, timer);
  if (times.again.empty()) {
    std::array<std::vector<LayerOp>, kNumOpParts> forward;
    for (LayerOp& op : ops_of(piece, span, strategy)) {
      if (op.pass != Pass::fwd) continue;
      op.pass = Pass::rec;
      forward[static_cast<std::size_t>(op.part)].push_back(op);
    }
    for (const std::vector<LayerOp>& ops : forward) times.again.push_back(block_times(ops, timer));
  }
  return times.again[static_cast<std::size_t>(part)];
}

}  // namespace orrery::costmodel
