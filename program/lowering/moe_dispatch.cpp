// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/moe_block.h"
#include "program/row_counts.h"
#include "program/work.h"

#include <cmath>

namespace orrery::lowering {

using R = TensorRole;

std::int64_t row_there(const RuleContext& c) { return c.operand_row(c.model.hidden); }
std::int64_t row_back(const RuleContext& c) { return c.model.hidden * size_of(c.dtype); }

namespace {

/// What all dispatchers share: roles, sizes and copies of rows.
class DispatchBase : public Dispatch {
 public:
  DispatchBase(const RuleContext& context, const MoeRows& rows) : c_(context), r_(rows), h_(context.model.hidden) {}

 protected:
  /// One row is read and one written for each of `rows`.
  OpRule copied(OpCode op, Pass pass, Rows rows, std::int64_t row, const std::vector<RoleUse>& uses) const {
    return c_.memory(op, pass, MemoryShape{.rows = rows, .read_per_row = row, .written_per_row = row}, uses);
  }
  /// `per_row` rows are summed into each of `rows`.
  OpRule summed(OpCode op, Pass pass, Rows rows, std::int64_t per_row, const std::vector<RoleUse>& uses) const {
    return c_.memory(op, pass,
                     MemoryShape{.rows = rows,
                                 .read_per_row = per_row * row_back(c_),
                                 .written_per_row = row_back(c_),
                                 .flops_per_row = per_row * h_},
                     uses);
  }
  RoleUse rows_of(R role, Rows rows) const { return create(role, rows, h_, c_.dtype); }
  RoleUse probs_of(R role, Rows rows) const { return create(role, rows, 1, DType::f32); }
  RoleUse operand_of(R role, Rows rows) const { return c_.create_operand(role, rows, h_); }

  OpRule exchange(OpCode op, Pass pass, const ExchangeShape& shape, const std::vector<RoleUse>& uses) const {
    return c_.with_shape(op, pass, Queue::ep, shape, uses);
  }

  const RuleContext& c_;
  const MoeRows r_;
  const std::int64_t h_;
};

class AllToAll : public DispatchBase {
 public:
  using DispatchBase::DispatchBase;

  void there(std::vector<OpRule>& fwd) const override {
    const R out = exchanges() ? R::send_rows : R::expert_in, probs = exchanges() ? R::send_probs : R::expert_probs;
    const Rows rows = exchanges() ? r_.sent : r_.received;
    fwd.push_back(
        copied(OpCode::moe_permute, Pass::fwd, copies(), row_there(c_),
               {read(R::norm2), read(R::scores), read(R::choices), operand_of(out, rows), probs_of(probs, rows)}));
    if (!exchanges()) return;
    fwd.push_back(exchange(OpCode::moe_dispatch, Pass::fwd, shape(true, row_there(c_) + 4, true),
                           {read(R::send_rows), read(R::send_probs), operand_of(R::expert_in, r_.received),
                            probs_of(R::expert_probs, r_.received)}));
  }
  void back(std::vector<OpRule>& fwd) const override {
    if (exchanges()) {
      fwd.push_back(exchange(OpCode::moe_combine, Pass::fwd, shape(false, row_back(c_), false),
                             {read(R::expert_out), rows_of(R::combined_rows, r_.sent)}));
    }
    fwd.push_back(summed(
        OpCode::moe_unpermute, Pass::fwd, r_.tokens, r_.top_k,
        {read(exchanges() ? R::combined_rows : R::expert_out), read(R::choices), rows_of(R::moe_out, r_.tokens)}));
  }
  void gradient_there(std::vector<OpRule>& igrad) const override {
    const R out = exchanges() ? R::d_combined_rows : R::d_expert_out;
    igrad.push_back(copied(OpCode::moe_unpermute, Pass::igrad, copies(), row_there(c_),
                           {read(R::d_x, 1), read(R::choices), operand_of(out, exchanges() ? r_.sent : r_.received)}));
    if (!exchanges()) return;
    igrad.push_back(exchange(OpCode::moe_combine, Pass::igrad, shape(true, row_there(c_), false),
                             {read(R::d_combined_rows), operand_of(R::d_expert_out, r_.received)}));
  }
  void gradient_back(std::vector<OpRule>& igrad) const override {
    if (exchanges()) {
      igrad.push_back(exchange(OpCode::moe_dispatch, Pass::igrad, shape(false, row_back(c_) + 4, false),
                               {read(R::d_expert_in), read(R::d_expert_probs), rows_of(R::d_send_rows, r_.sent),
                                probs_of(R::d_send_probs, r_.sent)}));
    }
    igrad.push_back(summed(
        OpCode::moe_permute, Pass::igrad, r_.tokens, r_.top_k,
        {read(exchanges() ? R::d_send_rows : R::d_expert_in), read(exchanges() ? R::d_send_probs : R::d_expert_probs),
         read(R::choices), rows_of(R::d_norm2, r_.tokens), create(R::d_probs, r_.tokens, r_.top_k, DType::f32)}));
  }

 private:
  bool exchanges() const { return c_.strategy.ep > 1; }
  /// With a capacity, padding is copied as well.
  Rows copies() const { return {Rows::Kind::fixed, r_.sent.count}; }
  ExchangeShape shape(bool to_experts, std::int64_t row_bytes, bool with_counts) const {
    const bool sizes_vary = r_.sent.kind != Rows::Kind::fixed;
    const std::int64_t counts = r_.local_experts * row_counts_of_expert(c_.strategy);
    return {.rows = r_.sent,
            .row_bytes = row_bytes,
            .count_bytes = with_counts && sizes_vary ? 4 * counts : 0,
            .to_experts = to_experts};
  }
};

class AllGather : public DispatchBase {
 public:
  AllGather(const RuleContext& context, const MoeRows& rows)
      : DispatchBase(context, rows), all_{Rows::Kind::fixed, rows.tokens.count * context.strategy.ep} {}

  void there(std::vector<OpRule>& fwd) const override {
    const std::int64_t row = row_there(c_) + 5 * r_.experts;
    fwd.push_back(collective(
        OpCode::moe_dispatch, Pass::fwd, CollectiveKind::all_gather, row,
        {read(R::norm2), read(R::scores), read(R::choices), operand_of(R::recv_rows, all_),
         create(R::recv_scores, all_, r_.experts, DType::f32), create(R::recv_choices, all_, r_.experts, DType::u8)}));
    fwd.push_back(copied(OpCode::moe_permute, Pass::fwd, r_.received, row_there(c_),
                         {read(R::recv_rows), read(R::recv_scores), read(R::recv_choices),
                          operand_of(R::expert_in, r_.received), probs_of(R::expert_probs, r_.received)}));
  }
  void back(std::vector<OpRule>& fwd) const override {
    fwd.push_back(copied(OpCode::moe_unpermute, Pass::fwd, r_.received, row_back(c_),
                         {read(R::expert_out), read(R::recv_choices), rows_of(R::back_rows, all_)}));
    fwd.push_back(collective(OpCode::moe_combine, Pass::fwd, CollectiveKind::reduce_scatter, row_back(c_),
                             {read(R::back_rows), rows_of(R::moe_out, r_.tokens)}));
  }
  void gradient_there(std::vector<OpRule>& igrad) const override {
    igrad.push_back(collective(OpCode::moe_combine, Pass::igrad, CollectiveKind::all_gather, row_there(c_),
                               {read(R::d_x, 1), operand_of(R::d_back_rows, all_)}));
    igrad.push_back(copied(OpCode::moe_unpermute, Pass::igrad, r_.received, row_there(c_),
                           {read(R::d_back_rows), read(R::recv_choices), operand_of(R::d_expert_out, r_.received)}));
  }
  void gradient_back(std::vector<OpRule>& igrad) const override {
    igrad.push_back(copied(OpCode::moe_permute, Pass::igrad, r_.received, row_back(c_),
                           {read(R::d_expert_in), read(R::d_expert_probs), read(R::recv_choices),
                            rows_of(R::d_recv_rows, all_), create(R::d_recv_probs, all_, r_.experts, DType::f32)}));
    igrad.push_back(collective(OpCode::moe_dispatch, Pass::igrad, CollectiveKind::reduce_scatter,
                               row_back(c_) + 4 * r_.experts,
                               {read(R::d_recv_rows), read(R::d_recv_probs), rows_of(R::d_norm2, r_.tokens),
                                create(R::d_probs, r_.tokens, r_.experts, DType::f32)}));
  }

 private:
  OpRule collective(OpCode op, Pass pass, CollectiveKind kind, std::int64_t row,
                    const std::vector<RoleUse>& uses) const {
    const CollectiveShape shape{.kind = kind, .group = Group::ep, .bytes = all_.count * row};
    return c_.with_shape(op, pass, Queue::ep, shape, uses);
  }
  const Rows all_;
};

class TwoLevel : public DispatchBase {
 public:
  TwoLevel(const RuleContext& context, const MoeRows& rows) : DispatchBase(context, rows) {
    const double per_token = expected_distinct(rows.experts, rows.top_k, context.strategy.ep);
    arriving_ = {Rows::Kind::distinct,
                 static_cast<std::int64_t>(std::ceil(static_cast<double>(rows.tokens.count) * per_token))};
  }

  void there(std::vector<OpRule>& fwd) const override {
    fwd.push_back(exchange(OpCode::moe_dispatch, Pass::fwd, shape(true, row_there(c_) + choice_bytes()),
                           {read(R::norm2), read(R::scores), read(R::choices), operand_of(R::recv_rows, arriving_),
                            create(R::recv_probs, arriving_, r_.top_k, DType::f32),
                            create(R::recv_choices, arriving_, r_.top_k, DType::i64)}));
    fwd.push_back(copied(OpCode::moe_permute, Pass::fwd, r_.received, row_there(c_),
                         {read(R::recv_rows), read(R::recv_probs), read(R::recv_choices),
                          operand_of(R::expert_in, r_.received), probs_of(R::expert_probs, r_.received)}));
  }
  void back(std::vector<OpRule>& fwd) const override {
    fwd.push_back(copied(OpCode::moe_unpermute, Pass::fwd, r_.received, row_back(c_),
                         {read(R::expert_out), read(R::recv_choices), rows_of(R::back_rows, arriving_)}));
    fwd.push_back(exchange(OpCode::moe_combine, Pass::fwd, shape(false, row_back(c_)),
                           {read(R::back_rows), rows_of(R::moe_out, r_.tokens)}));
  }
  void gradient_there(std::vector<OpRule>& igrad) const override {
    igrad.push_back(exchange(OpCode::moe_combine, Pass::igrad, shape(true, row_there(c_)),
                             {read(R::d_x, 1), operand_of(R::d_back_rows, arriving_)}));
    igrad.push_back(copied(OpCode::moe_unpermute, Pass::igrad, r_.received, row_there(c_),
                           {read(R::d_back_rows), read(R::recv_choices), operand_of(R::d_expert_out, r_.received)}));
  }
  void gradient_back(std::vector<OpRule>& igrad) const override {
    igrad.push_back(
        copied(OpCode::moe_permute, Pass::igrad, r_.received, row_back(c_),
               {read(R::d_expert_in), read(R::d_expert_probs), read(R::recv_choices),
                rows_of(R::d_recv_rows, arriving_), create(R::d_recv_probs, arriving_, r_.top_k, DType::f32)}));
    igrad.push_back(exchange(OpCode::moe_dispatch, Pass::igrad, shape(false, row_back(c_) + 4 * r_.top_k),
                             {read(R::d_recv_rows), read(R::d_recv_probs), rows_of(R::d_norm2, r_.tokens),
                              create(R::d_probs, r_.tokens, r_.top_k, DType::f32)}));
  }

 private:
  /// Index and weight of every choice travel beside a token.
  std::int64_t choice_bytes() const { return r_.top_k * (size_of(DType::i64) + size_of(DType::f32)); }
  ExchangeShape shape(bool to_experts, std::int64_t row_bytes) const {
    return {.rows = r_.sent,
            .row_bytes = row_bytes,
            .to_experts = to_experts,
            .two_level = true,
            .top_k = r_.top_k,
            .num_groups = r_.num_groups,
            .top_k_groups = r_.top_k_groups};
  }
  Rows arriving_;
};

}  // namespace

std::unique_ptr<Dispatch> all_to_all_dispatch(const RuleContext& context, const MoeRows& rows) {
  return std::make_unique<AllToAll>(context, rows);
}
std::unique_ptr<Dispatch> all_gather_dispatch(const RuleContext& context, const MoeRows& rows) {
  return std::make_unique<AllGather>(context, rows);
}
std::unique_ptr<Dispatch> two_level_dispatch(const RuleContext& context, const MoeRows& rows) {
  return std::make_unique<TwoLevel>(context, rows);
}

}  // namespace orrery::lowering
