// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/moe_block.h"
#include "program/lowering/tensor_parallel.h"

#include <cmath>

namespace orrery::lowering {

using R = TensorRole;

MoeRows::MoeRows(const RuleContext& c) {
  const MoeBlock& moe = *c.model.moe;
  const Strategy& s = c.strategy;
  experts = moe.num_experts;
  local_experts = experts / s.ep;
  top_k = moe.top_k;
  num_groups = moe.num_groups;
  top_k_groups = moe.top_k_groups;
  expert_width = moe.expert_width / s.etp;
  tokens = c.local_rows();
  pairs = tokens.count * top_k;
  sent = {Rows::Kind::routed, pairs};
  received = {Rows::Kind::received, pairs};
  computed = s.etp == 1 ? received : Rows{Rows::Kind::gathered, pairs * s.etp};
  if (!s.capacity_factor) return;
  // Every expert has room for as many tokens of each rank, and the room that is left over is padded.
  // Source: Megatron-LM, get_capacity, with --moe-pad-expert-input-to-capacity.
  const auto capacity = static_cast<std::int64_t>(
      std::ceil(static_cast<double>(pairs) / static_cast<double>(experts) * *s.capacity_factor));
  pairs = capacity * experts;
  sent = received = {Rows::Kind::fixed, pairs};
  computed = {Rows::Kind::fixed, pairs * s.etp};
}

namespace {

std::unique_ptr<Dispatch> dispatch_of(const RuleContext& context, const MoeRows& rows) {
  // Nothing travels within one rank, whoever would carry it.
  if (context.strategy.ep == 1) return all_to_all_dispatch(context, rows);
  switch (context.strategy.dispatcher) {
    case Dispatcher::all_to_all:
      return all_to_all_dispatch(context, rows);
    case Dispatcher::all_gather:
      return all_gather_dispatch(context, rows);
    case Dispatcher::two_level:
      return two_level_dispatch(context, rows);
  }
  return nullptr;
}

/// Sizes of an MoE block, and the rules of its parts.
class MoeRules {
 public:
  explicit MoeRules(const RuleContext& context)
      : c_(context),
        tp_(context),
        moe_(*context.model.moe),
        rows_(context),
        dispatch_(dispatch_of(context, rows_)),
        local_(context.local_rows()) {}

  BlockRules all() {
    forward();
    input_gradients();
    weight_gradients();
    return std::move(rules_);
  }

 private:
  bool has_shared() const { return moe_.shared_width > 0; }
  bool has_etp() const { return c_.strategy.etp > 1; }
  std::int64_t clamped() const { return moe_.swiglu_limit > 0.0 ? f1_ : 0; }
  /// The experts' input where they compute: of the whole ETP group, if there is one.
  R in() const { return has_etp() ? R::gathered_in : R::expert_in; }
  R probs() const { return has_etp() ? R::gathered_probs : R::expert_probs; }
  R d_out() const { return has_etp() ? R::d_expert_full : R::d_expert_out; }

  OpRule grouped(OpCode op, Pass pass, std::int64_t n, std::int64_t k, const std::vector<RoleUse>& uses) const {
    const GroupedGemmShape shape{.rows = rows_.computed,
                                 .num_experts = rows_.local_experts,
                                 .n = n,
                                 .k = k,
                                 .dtype = c_.operand,
                                 .accumulate = c_.strategy.grad_dtype,
                                 .bias = moe_.expert_bias,
                                 .by_sender = c_.strategy.ep > 1 && c_.strategy.dispatcher == Dispatcher::all_to_all};
    return c_.with_shape(op, pass, Queue::compute, shape, uses);
  }
  OpRule over_etp(OpCode op, Pass pass, CollectiveKind kind, std::int64_t row, const std::vector<RoleUse>& uses) const {
    CollectiveShape shape{.kind = kind, .group = Group::etp};
    if (rows_.computed.kind == Rows::Kind::fixed) {
      shape.bytes = rows_.computed.count * row;
    } else {
      shape.rows = rows_.computed;
      shape.row_bytes = row;
    }
    return c_.with_shape(op, pass, Queue::etp, shape, uses);
  }

  void forward() {
    auto& fwd = rules_.fwd;
    // The router multiplies in f32, so that its input stays as it is; rows become operands on their way.
    fwd.push_back(c_.memory(OpCode::moe_norm, Pass::fwd, 5 * h_, {read(R::x_mid), create(R::norm2, local_, h_, t_)}));
    if (has_shared() && !c_.strategy.overlap.shared_expert) shared_forward();
    fwd.push_back(c_.gemm(OpCode::moe_router, Pass::fwd, local_.count, experts_, h_, DType::f32,
                          {read(R::norm2), create(R::scores, local_, experts_, DType::f32),
                           create(R::choices, local_, experts_, DType::u8)}));
    dispatch_->there(fwd);
    // Enqueued behind the dispatch, the shared experts run while rows travel.
    if (has_shared() && c_.strategy.overlap.shared_expert) shared_forward();
    if (has_etp()) {
      fwd.push_back(
          over_etp(OpCode::etp_gather, Pass::fwd, CollectiveKind::all_gather, row_there(c_) + 4,
                   {read(R::expert_in), read(R::expert_probs), c_.create_operand(R::gathered_in, rows_.computed, h_),
                    create(R::gathered_probs, rows_.computed, 1, DType::f32)}));
    }
    fwd.push_back(
        grouped(OpCode::moe_fc1, Pass::fwd, f1_, h_, {read(in()), create(R::expert_fc1, rows_.computed, f1_, t_)}));
    act_in_ = c_.activation_input(R::expert_fc1, R::expert_fc1_fp8, OpCode::moe_act_quant, rows_.computed, f1_, fwd);
    fwd.push_back(c_.memory(OpCode::moe_act, Pass::fwd, 6 * fe_,
                            {read(act_in_), read(probs()), c_.create_operand(R::expert_act, rows_.computed, fe_)},
                            clamped()));
    const R out = has_etp() ? R::expert_part : R::expert_out;
    fwd.push_back(
        grouped(OpCode::moe_fc2, Pass::fwd, h_, fe_, {read(R::expert_act), create(out, rows_.computed, h_, t_)}));
    if (has_etp()) {
      fwd.push_back(over_etp(OpCode::etp_scatter, Pass::fwd, CollectiveKind::reduce_scatter, row_back(c_),
                             {read(R::expert_part), create(R::expert_out, rows_.received, h_, t_)}));
    }
    dispatch_->back(fwd);
    std::vector<RoleUse> summands = {read(R::x_mid), read(R::moe_out)};
    if (has_shared()) summands.push_back(read(R::shared_out));
    summands.push_back(create(R::x, local_, h_, t_, 1));
    fwd.push_back(c_.memory(OpCode::moe_residual, Pass::fwd, has_shared() ? 2 * h_ : h_, summands));
  }

  void shared_forward() {
    auto& fwd = rules_.fwd;
    tp_.forward(shared_fc1_, fwd);
    shared_act_in_ = c_.activation_input(R::shared_fc1, R::shared_fc1_fp8, OpCode::shared_act_quant, c_.token_rows(),
                                         shared_f1_, fwd);
    fwd.push_back(c_.memory(OpCode::shared_act, Pass::fwd, 5 * shared_,
                            {read(shared_act_in_), c_.create_operand(R::shared_act, c_.token_rows(), shared_)}));
    tp_.forward(shared_fc2_, fwd);
    if (!moe_.shared_expert_gate) return;
    fwd.push_back(c_.memory(OpCode::shared_gate, Pass::fwd, 3 * h_,
                            {read(R::norm2), modify(R::shared_out), create(R::shared_gate, local_, 1, DType::f32)}));
  }

  void input_gradients() {
    auto& igrad = rules_.igrad;
    dispatch_->gradient_there(igrad);
    if (has_etp()) {
      igrad.push_back(over_etp(OpCode::etp_scatter, Pass::igrad, CollectiveKind::all_gather, row_there(c_),
                               {read(R::d_expert_out), c_.create_operand(R::d_expert_full, rows_.computed, h_)}));
    }
    igrad.push_back(grouped(OpCode::moe_fc2, Pass::igrad, h_, fe_,
                            {read(d_out()), create(R::d_expert_act, rows_.computed, fe_, t_)}));
    const R d_probs = has_etp() ? R::d_gathered_probs : R::d_expert_probs;
    igrad.push_back(
        c_.memory(OpCode::moe_act, Pass::igrad, 12 * fe_,
                  {read(act_in_), read(probs()), read(R::d_expert_act),
                   create(R::d_expert_fc1, rows_.computed, f1_, t_), create(d_probs, rows_.computed, 1, DType::f32)},
                  clamped()));
    const R d_in = has_etp() ? R::d_gathered_in : R::d_expert_in;
    igrad.push_back(
        grouped(OpCode::moe_fc1, Pass::igrad, f1_, h_, {read(R::d_expert_fc1), create(d_in, rows_.computed, h_, t_)}));
    if (has_etp()) {
      igrad.push_back(
          over_etp(OpCode::etp_gather, Pass::igrad, CollectiveKind::reduce_scatter, row_back(c_) + 4,
                   {read(R::d_gathered_in), read(R::d_gathered_probs), create(R::d_expert_in, rows_.received, h_, t_),
                    create(R::d_expert_probs, rows_.received, 1, DType::f32)}));
    }
    dispatch_->gradient_back(igrad);
    igrad.push_back(c_.gemm(OpCode::moe_router, Pass::igrad, local_.count, experts_, h_, DType::f32,
                            {read(R::scores), read(R::choices), read(R::d_probs), modify(R::d_norm2),
                             create(R::d_router_logits, local_, experts_, DType::f32)}));
    if (has_shared()) shared_input_gradients();
    igrad.push_back(c_.memory(OpCode::moe_norm, Pass::igrad, 10 * h_,
                              {read(R::x_mid), read(R::d_norm2), read(R::d_x, 1), create(R::d_x_mid, local_, h_, t_)}));
  }

  void shared_input_gradients() {
    auto& igrad = rules_.igrad;
    if (moe_.shared_expert_gate) {
      igrad.push_back(c_.memory(OpCode::shared_gate, Pass::igrad, 6 * h_,
                                {read(R::d_x, 1), read(R::shared_gate), read(R::shared_out), modify(R::d_norm2),
                                 create(R::d_shared_out, local_, h_, t_)}));
    }
    tp_.input_gradient(shared_fc2_, igrad);
    igrad.push_back(c_.memory(
        OpCode::shared_act, Pass::igrad, 10 * shared_,
        {read(shared_act_in_), read(R::d_shared_act), create(R::d_shared_fc1, c_.token_rows(), shared_f1_, t_)}));
    tp_.input_gradient(shared_fc1_, igrad);
  }

  void weight_gradients() {
    auto& wgrad = rules_.wgrad;
    wgrad.push_back(grouped(OpCode::moe_fc2, Pass::wgrad, h_, fe_, {read(R::expert_act), read(d_out())}));
    wgrad.push_back(grouped(OpCode::moe_fc1, Pass::wgrad, f1_, h_, {read(in()), read(R::d_expert_fc1)}));
    wgrad.push_back(c_.gemm(OpCode::moe_router, Pass::wgrad, local_.count, experts_, h_, DType::f32,
                            {read(R::norm2), read(R::d_router_logits)}));
    if (!has_shared()) return;
    tp_.weight_gradient(shared_fc2_, wgrad);
    tp_.weight_gradient(shared_fc1_, wgrad);
  }

  const RuleContext& c_;
  const TensorParallel tp_;
  const MoeBlock& moe_;
  const MoeRows rows_;
  const std::unique_ptr<Dispatch> dispatch_;
  const Rows local_;
  const DType t_ = c_.dtype;
  const std::int64_t h_ = c_.model.hidden, experts_ = rows_.experts;
  const std::int64_t fe_ = rows_.expert_width, f1_ = c_.model.fc1_width(fe_);
  const std::int64_t shared_ = moe_.shared_width / c_.tp, shared_f1_ = c_.model.fc1_width(shared_);
  const ColumnParallel shared_fc1_{.gather = OpCode::tp_shared_in,
                                   .gemm = OpCode::shared_fc1,
                                   .in = R::norm2,
                                   .in_full = R::shared_full,
                                   .out = R::shared_fc1,
                                   .d_out = R::d_shared_fc1,
                                   .d_part = R::d_shared_part,
                                   .d_in = R::d_norm2,
                                   .n = shared_f1_,
                                   .k = h_,
                                   .adds_to_d_in = true,
                                   .operand_in = false};
  /// The gradient of the shared experts' output is the layer's, or its gated copy.
  const RowParallel shared_fc2_{.gemm = OpCode::shared_fc2,
                                .scatter = OpCode::tp_shared_out,
                                .in = R::shared_act,
                                .part = R::shared_part,
                                .out = R::shared_out,
                                .d_out = moe_.shared_expert_gate ? R::d_shared_out : R::d_x,
                                .d_full = R::d_shared_full,
                                .d_in = R::d_shared_act,
                                .d_out_offset = moe_.shared_expert_gate ? 0 : 1,
                                .n = h_,
                                .k = shared_};
  R act_in_ = R::expert_fc1, shared_act_in_ = R::shared_fc1;  // of the activation functions
  BlockRules rules_;
};

}  // namespace

BlockRules moe_ffn_rules(const RuleContext& context) { return MoeRules(context).all(); }

}  // namespace orrery::lowering
