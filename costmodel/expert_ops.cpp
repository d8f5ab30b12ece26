// SPDX-License-Identifier: Apache-2.0
// The ops between the norm and the residual of an MoE layer, for costmodel/layer_ops.cpp.
#include "costmodel/block_ops.h"
#include "program/row_counts.h"

#include <cmath>

namespace orrery::costmodel {
namespace {

class ExpertOps {
 public:
  explicit ExpertOps(BlockOps& block)
      : b_(block), moe_(*block.model.moe), s_(block.strategy), there_(b_.operand(b_.hidden)), back_(b_.row(b_.hidden)) {
    pairs_ = b_.local * moe_.top_k;
    if (s_.capacity_factor) {
      const double even = static_cast<double>(pairs_) / static_cast<double>(moe_.num_experts);
      pairs_ = moe_.num_experts * static_cast<std::int64_t>(std::ceil(even * *s_.capacity_factor));
    }
  }

  void add() {
    b_.enter(OpPart::ffn);
    b_.products(OpCode::moe_router, b_.local, moe_.num_experts, b_.hidden, DType::f32);
    if (s_.ep == 1 || s_.dispatcher == Dispatcher::all_to_all) {
      flat();
    } else if (s_.dispatcher == Dispatcher::all_gather) {
      gathered();
    } else {
      two_level();
    }
    if (s_.etp > 1) expert_tensor_parallel();
    experts();
    if (moe_.shared_width > 0) shared();
  }

 private:
  using Kind = CollectiveKind;
  bool drops() const { return s_.capacity_factor.has_value(); }
  /// Rows whose number the router decides, unless every expert has fixed places.
  Rows routed(Rows::Kind kind, std::int64_t count) const { return drops() ? b_.fixed(count) : Rows{kind, count}; }
  Rows received() const { return routed(Rows::Kind::received, pairs_); }
  Rows computed() const { return s_.etp == 1 ? received() : routed(Rows::Kind::gathered, pairs_ * s_.etp); }

  void copied(OpCode op, Pass pass, const Rows& rows, std::int64_t row) { b_.memory(op, pass, rows, {row, row}); }
  void exchange(OpCode op, Pass pass, ExchangeShape shape) {
    shape.rows = routed(Rows::Kind::routed, pairs_);
    shape.to_experts = (pass == Pass::fwd) == (op == OpCode::moe_dispatch);
    b_.add(op, pass, shape);
  }
  void all_ranks(OpCode op, Pass pass, Kind kind, std::int64_t row) {
    b_.collective(op, pass, kind, Group::ep, s_.ep * b_.local * row);
  }

  // A row for each choice; each way back is the other's work.
  void flat() {
    const Rows copies = b_.fixed(pairs_), tokens = b_.fixed(b_.local);
    copied(OpCode::moe_permute, Pass::fwd, copies, there_);
    copied(OpCode::moe_unpermute, Pass::igrad, copies, there_);
    b_.memory(OpCode::moe_unpermute, Pass::fwd, tokens, {moe_.top_k * back_, back_});
    b_.memory(OpCode::moe_permute, Pass::igrad, tokens, {moe_.top_k * back_, back_});
    if (s_.ep == 1) return;
    const std::int64_t counts = moe_.num_experts / s_.ep * row_counts_of_expert(s_);
    exchange(OpCode::moe_dispatch, Pass::fwd, {.row_bytes = there_ + 4, .count_bytes = drops() ? 0 : 4 * counts});
    exchange(OpCode::moe_combine, Pass::fwd, {.row_bytes = back_});
    exchange(OpCode::moe_combine, Pass::igrad, {.row_bytes = there_});
    exchange(OpCode::moe_dispatch, Pass::igrad, {.row_bytes = back_ + 4});
  }

  /// Rows are picked behind the way there and summed before the way back.
  void picked() {
    copied(OpCode::moe_permute, Pass::fwd, received(), there_);
    copied(OpCode::moe_unpermute, Pass::fwd, received(), back_);
    copied(OpCode::moe_unpermute, Pass::igrad, received(), there_);
    copied(OpCode::moe_permute, Pass::igrad, received(), back_);
  }
  void gathered() {
    picked();
    const std::int64_t scores = 4 * moe_.num_experts, choices = moe_.num_experts;
    all_ranks(OpCode::moe_dispatch, Pass::fwd, Kind::all_gather, there_ + scores + choices);
    all_ranks(OpCode::moe_combine, Pass::fwd, Kind::reduce_scatter, back_);
    all_ranks(OpCode::moe_combine, Pass::igrad, Kind::all_gather, there_);
    all_ranks(OpCode::moe_dispatch, Pass::igrad, Kind::reduce_scatter, back_ + scores);
  }
  void two_level() {
    picked();
    const std::int64_t weights = 4 * moe_.top_k, indices = 8 * moe_.top_k;
    const auto once = [&](OpCode op, Pass pass, std::int64_t row) {
      exchange(op, pass,
               {.row_bytes = row,
                .two_level = true,
                .top_k = moe_.top_k,
                .num_groups = moe_.num_groups,
                .top_k_groups = moe_.top_k_groups});
    };
    once(OpCode::moe_dispatch, Pass::fwd, there_ + weights + indices);
    once(OpCode::moe_combine, Pass::fwd, back_);
    once(OpCode::moe_combine, Pass::igrad, there_);
    once(OpCode::moe_dispatch, Pass::igrad, back_ + weights);
  }

  void expert_tensor_parallel() {
    const auto all_rows = [&](OpCode op, Pass pass, Kind kind, std::int64_t row) {
      CollectiveShape shape{.kind = kind, .group = Group::etp};
      if (drops()) {
        shape.bytes = computed().count * row;
      } else {
        shape.rows = computed();
        shape.row_bytes = row;
      }
      b_.add(op, pass, shape);
    };
    all_rows(OpCode::etp_gather, Pass::fwd, Kind::all_gather, there_ + 4);
    all_rows(OpCode::etp_scatter, Pass::fwd, Kind::reduce_scatter, back_);
    all_rows(OpCode::etp_scatter, Pass::igrad, Kind::all_gather, there_);
    all_rows(OpCode::etp_gather, Pass::igrad, Kind::reduce_scatter, back_ + 4);
  }

  void experts() {
    const std::int64_t fe = moe_.expert_width / s_.etp, fc1 = b_.model.fc1_width(fe);
    for (const Pass pass : {Pass::fwd, Pass::igrad, Pass::wgrad}) {
      grouped(OpCode::moe_fc1, pass, fc1, b_.hidden);
      grouped(OpCode::moe_fc2, pass, b_.hidden, fe);
    }
    const std::int64_t probability = 4;
    const BlockOps::Activation act{.quant = OpCode::moe_act_quant,
                                   .act = OpCode::moe_act,
                                   .in = fc1,
                                   .out = fe,
                                   .more = probability,
                                   .clamped = moe_.swiglu_limit > 0.0 ? fc1 : 0};
    b_.quantise(act, computed());
    b_.enter(OpPart::moe_act);
    b_.activation(act, computed());
  }
  void grouped(OpCode op, Pass pass, std::int64_t n, std::int64_t k) {
    b_.add(op, pass,
           GroupedGemmShape{.rows = computed(),
                            .num_experts = moe_.num_experts / s_.ep,
                            .n = n,
                            .k = k,
                            .dtype = s_.precision,
                            .accumulate = s_.grad_dtype,
                            .bias = moe_.expert_bias,
                            .by_sender = s_.ep > 1 && s_.dispatcher == Dispatcher::all_to_all});
  }

  // Their input is the router's, which stays exact.
  void shared() {
    b_.enter(OpPart::shared);
    const std::int64_t width = moe_.shared_width / b_.tp, fc1 = b_.model.fc1_width(width);
    b_.column(OpCode::tp_shared_in, OpCode::shared_fc1, fc1, b_.hidden, back_, s_.precision);
    const BlockOps::Activation act{
        .quant = OpCode::shared_act_quant, .act = OpCode::shared_act, .in = fc1, .out = width};
    b_.quantise(act, b_.fixed(b_.tokens));
    b_.activation(act, b_.fixed(b_.tokens));
    b_.row_parallel(OpCode::shared_fc2, OpCode::tp_shared_out, b_.hidden, width);
    if (!moe_.shared_expert_gate) return;
    b_.memory(OpCode::shared_gate, Pass::fwd, b_.fixed(b_.local), {2 * back_, back_ + 4});
    b_.memory(OpCode::shared_gate, Pass::igrad, b_.fixed(b_.local), {3 * back_ + 4, 2 * back_});
  }

  BlockOps& b_;
  const MoeBlock& moe_;
  const Strategy& s_;
  const std::int64_t there_, back_;  // bytes of a row to and from the experts
  std::int64_t pairs_ = 0;           // of token and expert that leave a rank, with padding
};

}  // namespace

void add_experts(BlockOps& block) { ExpertOps(block).add(); }

}  // namespace orrery::costmodel
