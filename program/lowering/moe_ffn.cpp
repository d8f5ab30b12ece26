// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/rules.h"

namespace orrery::lowering {
namespace {

using R = TensorRole;

/// Sizes of an MoE block, and the rules of its three parts.
class MoeRules {
 public:
  explicit MoeRules(const RuleContext& context)
      : c_(context),
        moe_(*context.model.moe),
        rows_(context.token_rows()),
        pairs_(context.tokens * moe_.top_k),
        sent_{Rows::Kind::routed, pairs_},
        received_{Rows::Kind::received, pairs_},
        has_exchange_(context.strategy.ep > 1) {}

  BlockRules all() {
    forward();
    input_gradients();
    weight_gradients();
    return std::move(rules_);
  }

 private:
  OpRule grouped(OpCode op, Pass pass, std::int64_t n, std::int64_t k, const std::vector<RoleUse>& uses) const {
    const GroupedGemmShape shape{.rows = received_,
                                 .num_experts = moe_.num_experts / c_.strategy.ep,
                                 .n = n,
                                 .k = k,
                                 .dtype = t_,
                                 .accumulate = c_.strategy.grad_dtype};
    return c_.with_shape(op, pass, Queue::compute, shape, uses);
  }

  /// Rows go to the experts with `extra` bytes beside each, or come back.
  OpRule exchange(OpCode op, Pass pass, bool to_experts, std::int64_t extra, bool with_counts,
                  const std::vector<RoleUse>& uses) const {
    const ExchangeShape shape{.rows = {Rows::Kind::routed, pairs_},
                              .row_bytes = h_ * size_of(t_) + extra,
                              .count_bytes = with_counts ? 4 * moe_.num_experts / c_.strategy.ep : 0,
                              .to_experts = to_experts};
    return c_.with_shape(op, pass, Queue::ep, shape, uses);
  }

  /// One row is copied for each (token, choice) pair.
  MemoryShape copy_of_pairs(std::int64_t rows_read_per_pair) const {
    return {.rows = {Rows::Kind::fixed, pairs_},
            .read_per_row = rows_read_per_pair * h_ * size_of(t_),
            .written_per_row = h_ * size_of(t_)};
  }
  /// The top_k rows of a token are summed into one.
  MemoryShape sum_of_pairs() const {
    return {.rows = rows_,
            .read_per_row = moe_.top_k * h_ * size_of(t_),
            .written_per_row = h_ * size_of(t_),
            .flops_per_row = moe_.top_k * h_};
  }

  void forward() {
    auto& fwd = rules_.fwd;
    fwd.push_back(c_.memory(OpCode::moe_norm, Pass::fwd, 5 * h_, {read(R::x_mid), create(R::norm2, rows_, h_, t_)}));
    if (shared_ > 0) shared_forward();
    fwd.push_back(c_.gemm(OpCode::moe_router, Pass::fwd, experts_, h_, DType::f32,
                          {read(R::norm2), create(R::scores, rows_, experts_, DType::f32),
                           create(R::choices, rows_, experts_, DType::u8)}));
    if (has_exchange_) {
      fwd.push_back(c_.memory(OpCode::moe_permute, Pass::fwd, copy_of_pairs(1),
                              {read(R::norm2), read(R::scores), read(R::choices), create(R::send_rows, sent_, h_, t_),
                               create(R::send_probs, sent_, 1, DType::f32)}));
      fwd.push_back(exchange(OpCode::moe_dispatch, Pass::fwd, true, 4, true,
                             {read(R::send_rows), read(R::send_probs), create(R::expert_in, received_, h_, t_),
                              create(R::expert_probs, received_, 1, DType::f32)}));
    } else {
      fwd.push_back(
          c_.memory(OpCode::moe_permute, Pass::fwd, copy_of_pairs(1),
                    {read(R::norm2), read(R::scores), read(R::choices), create(R::expert_in, received_, h_, t_),
                     create(R::expert_probs, received_, 1, DType::f32)}));
    }
    fwd.push_back(grouped(OpCode::moe_fc1, Pass::fwd, 2 * fe_, h_,
                          {read(R::expert_in), create(R::expert_fc1, received_, 2 * fe_, t_)}));
    fwd.push_back(c_.memory(OpCode::moe_act, Pass::fwd, 6 * fe_,
                            {read(R::expert_fc1), read(R::expert_probs), create(R::expert_act, received_, fe_, t_)}));
    fwd.push_back(
        grouped(OpCode::moe_fc2, Pass::fwd, h_, fe_, {read(R::expert_act), create(R::expert_out, received_, h_, t_)}));
    if (has_exchange_) {
      fwd.push_back(exchange(OpCode::moe_combine, Pass::fwd, false, 0, false,
                             {read(R::expert_out), create(R::combined_rows, sent_, h_, t_)}));
    }
    fwd.push_back(c_.memory(
        OpCode::moe_unpermute, Pass::fwd, sum_of_pairs(),
        {read(has_exchange_ ? R::combined_rows : R::expert_out), read(R::choices), create(R::moe_out, rows_, h_, t_)}));
    if (shared_ > 0) {
      fwd.push_back(c_.memory(OpCode::moe_residual, Pass::fwd, 2 * h_,
                              {read(R::x_mid), read(R::moe_out), read(R::shared_out), create(R::x, rows_, h_, t_, 1)}));
    } else {
      fwd.push_back(c_.memory(OpCode::moe_residual, Pass::fwd, h_,
                              {read(R::x_mid), read(R::moe_out), create(R::x, rows_, h_, t_, 1)}));
    }
  }

  void shared_forward() {
    auto& fwd = rules_.fwd;
    fwd.push_back(c_.gemm(OpCode::shared_fc1, Pass::fwd, 2 * shared_, h_,
                          {read(R::norm2), create(R::shared_fc1, rows_, 2 * shared_, t_)}));
    fwd.push_back(c_.memory(OpCode::shared_act, Pass::fwd, 5 * shared_,
                            {read(R::shared_fc1), create(R::shared_act, rows_, shared_, t_)}));
    fwd.push_back(c_.gemm(OpCode::shared_fc2, Pass::fwd, h_, shared_,
                          {read(R::shared_act), create(R::shared_out, rows_, h_, t_)}));
    if (moe_.shared_expert_gate) {
      fwd.push_back(c_.memory(OpCode::shared_gate, Pass::fwd, 3 * h_,
                              {read(R::norm2), modify(R::shared_out), create(R::shared_gate, rows_, 1, DType::f32)}));
    }
  }

  void input_gradients() {
    auto& igrad = rules_.igrad;
    if (has_exchange_) {
      igrad.push_back(c_.memory(OpCode::moe_unpermute, Pass::igrad, copy_of_pairs(1),
                                {read(R::d_x, 1), read(R::choices), create(R::d_combined_rows, sent_, h_, t_)}));
      igrad.push_back(exchange(OpCode::moe_combine, Pass::igrad, true, 0, false,
                               {read(R::d_combined_rows), create(R::d_expert_out, received_, h_, t_)}));
    } else {
      igrad.push_back(c_.memory(OpCode::moe_unpermute, Pass::igrad, copy_of_pairs(1),
                                {read(R::d_x, 1), read(R::choices), create(R::d_expert_out, received_, h_, t_)}));
    }
    igrad.push_back(grouped(OpCode::moe_fc2, Pass::igrad, h_, fe_,
                            {read(R::d_expert_out), create(R::d_expert_act, received_, fe_, t_)}));
    igrad.push_back(c_.memory(
        OpCode::moe_act, Pass::igrad, 12 * fe_,
        {read(R::expert_fc1), read(R::expert_probs), read(R::d_expert_act),
         create(R::d_expert_fc1, received_, 2 * fe_, t_), create(R::d_expert_probs, received_, 1, DType::f32)}));
    igrad.push_back(grouped(OpCode::moe_fc1, Pass::igrad, 2 * fe_, h_,
                            {read(R::d_expert_fc1), create(R::d_expert_in, received_, h_, t_)}));
    if (has_exchange_) {
      igrad.push_back(exchange(OpCode::moe_dispatch, Pass::igrad, false, 4, false,
                               {read(R::d_expert_in), read(R::d_expert_probs), create(R::d_send_rows, sent_, h_, t_),
                                create(R::d_send_probs, sent_, 1, DType::f32)}));
    }
    igrad.push_back(c_.memory(OpCode::moe_permute, Pass::igrad, sum_of_pairs(),
                              {read(has_exchange_ ? R::d_send_rows : R::d_expert_in),
                               read(has_exchange_ ? R::d_send_probs : R::d_expert_probs), read(R::choices),
                               create(R::d_norm2, rows_, h_, t_), create(R::d_probs, rows_, moe_.top_k, DType::f32)}));
    igrad.push_back(c_.gemm(OpCode::moe_router, Pass::igrad, experts_, h_, DType::f32,
                            {read(R::scores), read(R::choices), read(R::d_probs), modify(R::d_norm2),
                             create(R::d_router_logits, rows_, experts_, DType::f32)}));
    if (shared_ > 0) shared_input_gradients();
    igrad.push_back(c_.memory(OpCode::moe_norm, Pass::igrad, 10 * h_,
                              {read(R::x_mid), read(R::d_norm2), read(R::d_x, 1), create(R::d_x_mid, rows_, h_, t_)}));
  }

  /// Gradient of the shared experts' output: the layer's, or its gated copy.
  RoleUse d_shared_out() const { return moe_.shared_expert_gate ? read(R::d_shared_out) : read(R::d_x, 1); }

  void shared_input_gradients() {
    auto& igrad = rules_.igrad;
    if (moe_.shared_expert_gate) {
      igrad.push_back(c_.memory(OpCode::shared_gate, Pass::igrad, 6 * h_,
                                {read(R::d_x, 1), read(R::shared_gate), read(R::shared_out), modify(R::d_norm2),
                                 create(R::d_shared_out, rows_, h_, t_)}));
    }
    igrad.push_back(c_.gemm(OpCode::shared_fc2, Pass::igrad, h_, shared_,
                            {d_shared_out(), create(R::d_shared_act, rows_, shared_, t_)}));
    igrad.push_back(
        c_.memory(OpCode::shared_act, Pass::igrad, 10 * shared_,
                  {read(R::shared_fc1), read(R::d_shared_act), create(R::d_shared_fc1, rows_, 2 * shared_, t_)}));
    igrad.push_back(
        c_.gemm(OpCode::shared_fc1, Pass::igrad, 2 * shared_, h_, {read(R::d_shared_fc1), modify(R::d_norm2)}));
  }

  void weight_gradients() {
    auto& wgrad = rules_.wgrad;
    wgrad.push_back(grouped(OpCode::moe_fc2, Pass::wgrad, h_, fe_, {read(R::expert_act), read(R::d_expert_out)}));
    wgrad.push_back(grouped(OpCode::moe_fc1, Pass::wgrad, 2 * fe_, h_, {read(R::expert_in), read(R::d_expert_fc1)}));
    wgrad.push_back(
        c_.gemm(OpCode::moe_router, Pass::wgrad, experts_, h_, DType::f32, {read(R::norm2), read(R::d_router_logits)}));
    if (shared_ == 0) return;
    wgrad.push_back(c_.gemm(OpCode::shared_fc2, Pass::wgrad, h_, shared_, {read(R::shared_act), d_shared_out()}));
    wgrad.push_back(c_.gemm(OpCode::shared_fc1, Pass::wgrad, 2 * shared_, h_, {read(R::norm2), read(R::d_shared_fc1)}));
  }

  const RuleContext& c_;
  const MoeBlock& moe_;
  const Rows rows_;
  const std::int64_t pairs_;
  const Rows sent_, received_;
  const bool has_exchange_;
  const DType t_ = c_.dtype;
  const std::int64_t h_ = c_.model.hidden, experts_ = moe_.num_experts;
  const std::int64_t fe_ = moe_.expert_width, shared_ = moe_.shared_width;
  BlockRules rules_;
};

}  // namespace

BlockRules moe_ffn_rules(const RuleContext& context) { return MoeRules(context).all(); }

}  // namespace orrery::lowering
