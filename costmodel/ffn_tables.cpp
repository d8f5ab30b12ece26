// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"
#include "costmodel/tensor_table.h"
#include "program/work.h"

#include <cmath>

namespace orrery::costmodel {
namespace {

using R = TensorRole;
using Module = RecomputeModule;

constexpr double kFloat = 4.0, kChoice = 1.0, kIndex = 8.0;  // bytes: f32, u8, i64
constexpr At kOut(R::x, 1), kGradOut(R::d_x, 1);

double as_double(std::int64_t n) { return static_cast<double>(n); }

/// The two products of a feed-forward on all tokens, dense or shared, by the names of its tensors.
struct FeedForward {
  ColumnProduct fc1;
  RowProduct fc2;
  R in_fp8;  // of the activation function
  R act, d_act;
};

R act_in(const TableSizes& s, const FeedForward& f) { return s.strategy.fp8_activation_input ? f.in_fp8 : f.fc1.out; }

void add_forward(const TableSizes& s, const FeedForward& f, Module module, TensorTable& t) {
  add_forward(s, f.fc1, t);
  if (s.strategy.fp8_activation_input) {
    t.forward({f.fc1.out}, {{f.in_fp8, s.activation_input(s.tokens, f.fc1.width)}}, module);
  }
  t.forward({act_in(s, f)}, {{f.act, s.operand(s.tokens, f.fc2.inner)}}, module);
  add_forward(s, f.fc2, t);
}

void add_gradients(const TableSizes& s, const FeedForward& f, TensorTable& t) {
  add_gradients(s, f.fc2, t);
  t.input_grad({act_in(s, f), f.d_act}, {{f.fc1.d_out, s.plain(s.tokens, f.fc1.width)}});
  add_gradients(s, f.fc1, t);
}

FeedForward dense(const TableSizes& s) {
  const std::int64_t width = s.model.dense_width / s.tp;
  return {.fc1 = {.in = R::norm2,
                  .full = R::norm2_full,
                  .out = R::fc1,
                  .d_out = R::d_fc1,
                  .d_part = R::d_norm2_part,
                  .d_in = R::d_norm2,
                  .width = s.model.fc1_width(width),
                  .inner = s.model.hidden,
                  .full_bytes = s.operand(s.tokens, s.model.hidden),
                  .module = Module::mlp},
          .fc2 = {.in = R::act,
                  .part = R::ffn_part,
                  .out = R::ffn_out,
                  .d_out = kGradOut,
                  .d_full = R::d_ffn_out,
                  .d_in = R::d_act,
                  .width = s.model.hidden,
                  .inner = width,
                  .module = Module::mlp},
          .in_fp8 = R::fc1_fp8,
          .act = R::act,
          .d_act = R::d_act};
}

FeedForward shared(const TableSizes& s) {
  const std::int64_t width = s.model.moe->shared_width / s.tp;
  return {.fc1 = {.in = R::norm2,
                  .full = R::shared_full,
                  .out = R::shared_fc1,
                  .d_out = R::d_shared_fc1,
                  .d_part = R::d_shared_part,
                  .d_in = R::d_norm2,
                  .width = s.model.fc1_width(width),
                  .inner = s.model.hidden,
                  .full_bytes = s.plain(s.tokens, s.model.hidden),
                  .adds = true,
                  .module = Module::shared_experts},
          .fc2 = {.in = R::shared_act,
                  .part = R::shared_part,
                  .out = R::shared_out,
                  .d_out = s.model.moe->shared_expert_gate ? At(R::d_shared_out) : kGradOut,
                  .d_full = R::d_shared_full,
                  .d_in = R::d_shared_act,
                  .width = s.model.hidden,
                  .inner = width,
                  .module = Module::shared_experts},
          .in_fp8 = R::shared_fc1_fp8,
          .act = R::shared_act,
          .d_act = R::d_shared_act};
}

/// The routed and shared experts of a layer, forward and backward.
class MoeTable {
 public:
  explicit MoeTable(const TableSizes& sizes)
      : s_(sizes),
        moe_(*sizes.model.moe),
        has_exchange_(sizes.strategy.ep > 1),
        pairs_(pairs()),
        rows_(load(sizes.parameters.rho) * pairs_),
        expert_rows_(splits_experts() ? load(sizes.parameters.rho_gathered.value_or(sizes.parameters.rho)) * pairs_ *
                                            as_double(etp())
                                      : rows_) {}

  TensorTable make() {
    forward();
    gradients();
    return std::move(t_);
  }

 private:
  std::int64_t etp() const { return s_.strategy.etp; }
  /// Rows that arrive over those that leave: with a capacity factor every place travels, used or not.
  double load(double rho) const { return s_.strategy.capacity_factor ? 1.0 : rho; }
  bool splits_experts() const { return etp() > 1; }
  bool by_pairs() const { return s_.strategy.dispatcher == Dispatcher::all_to_all; }
  bool all_gathers() const { return s_.strategy.dispatcher == Dispatcher::all_gather; }
  std::int64_t hidden() const { return s_.model.hidden; }
  std::int64_t fe() const { return moe_.expert_width / etp(); }
  R act_in() const { return s_.strategy.fp8_activation_input ? R::expert_fc1_fp8 : R::expert_fc1; }

  /// Rows that leave this rank: k for each token, or the places that a capacity factor leaves.
  double pairs() const {
    const double choices = s_.stream_tokens * as_double(moe_.top_k);
    if (!s_.strategy.capacity_factor) return choices;
    const double experts = as_double(moe_.num_experts);
    return experts * std::ceil(choices * *s_.strategy.capacity_factor / experts);
  }

  /// Tokens that a dispatcher brings whole: of all ranks, or those that have an expert here, each once.
  double whole_tokens() const {
    if (all_gathers()) return as_double(s_.strategy.ep) * s_.stream_tokens;
    const double balanced =
        std::ceil(s_.stream_tokens * expected_distinct(moe_.num_experts, moe_.top_k, s_.strategy.ep));
    return s_.parameters.rho_distinct.value_or(1.0) * balanced;
  }
  double whole_choices() const {
    return whole_tokens() * (all_gathers() ? kChoice * as_double(moe_.num_experts) : kIndex * as_double(moe_.top_k));
  }
  double whole_probs() const {
    return whole_tokens() * kFloat * as_double(all_gathers() ? moe_.num_experts : moe_.top_k);
  }
  R whole_probs_role() const { return all_gathers() ? R::recv_scores : R::recv_probs; }

  double row_operand(double rows) const { return s_.operand(rows, hidden()); }
  double row(double rows) const { return s_.plain(rows, hidden()); }

  void shared_forward() {
    if (moe_.shared_width == 0) return;
    add_forward(s_, shared(s_), Module::shared_experts, t_);
    if (!moe_.shared_expert_gate) return;
    t_.forward({R::norm2, R::shared_out}, {{R::shared_gate, kFloat * s_.stream_tokens}}, Module::shared_experts);
  }

  void rows_to_experts() {
    const Made in(R::expert_in, row_operand(rows_)), probs(R::expert_probs, kFloat * rows_);
    if (!by_pairs()) {
      t_.forward({R::norm2, R::scores, R::choices}, {{R::recv_rows, row_operand(whole_tokens())},
                                                     {whole_probs_role(), whole_probs()},
                                                     {R::recv_choices, whole_choices()}});
      t_.is_exchange();
      if (s_.strategy.overlap.shared_expert) shared_forward();
      t_.forward({R::recv_rows, whole_probs_role(), R::recv_choices}, {in, probs});
      return;
    }
    if (!has_exchange_) {
      t_.forward({R::norm2, R::scores, R::choices}, {in, probs});
    } else {
      t_.forward({R::norm2, R::scores, R::choices},
                 {{R::send_rows, row_operand(pairs_)}, {R::send_probs, kFloat * pairs_}});
      t_.forward({R::send_rows, R::send_probs}, {in, probs});
      t_.is_exchange();
    }
    if (s_.strategy.overlap.shared_expert) shared_forward();
  }

  void forward() {
    t_.forward({R::x_mid}, {{R::norm2, s_.stream()}}, Module::layernorm);
    if (!s_.strategy.overlap.shared_expert) shared_forward();
    const double experts = as_double(moe_.num_experts);
    t_.forward({R::norm2},
               {{R::scores, kFloat * experts * s_.stream_tokens}, {R::choices, kChoice * experts * s_.stream_tokens}});
    rows_to_experts();
    const R in = splits_experts() ? R::gathered_in : R::expert_in;
    const R probs = splits_experts() ? R::gathered_probs : R::expert_probs;
    if (splits_experts()) {
      t_.forward({R::expert_in, R::expert_probs},
                 {{R::gathered_in, row_operand(expert_rows_)}, {R::gathered_probs, kFloat * expert_rows_}});
    }
    t_.forward({in}, {{R::expert_fc1, s_.plain(expert_rows_, s_.model.fc1_width(fe()))}});
    if (s_.strategy.fp8_activation_input) {
      t_.forward({R::expert_fc1}, {{R::expert_fc1_fp8, s_.activation_input(expert_rows_, s_.model.fc1_width(fe()))}});
    }
    t_.forward({act_in(), probs}, {{R::expert_act, s_.operand(expert_rows_, fe())}}, Module::moe_act);
    if (splits_experts()) {
      t_.forward({R::expert_act}, {{R::expert_part, row(expert_rows_)}});
      t_.forward({R::expert_part}, {{R::expert_out, row(rows_)}});
    } else {
      t_.forward({R::expert_act}, {{R::expert_out, row(rows_)}});
    }
    rows_to_tokens();
    moe_.shared_width > 0 ? t_.forward({R::x_mid, R::moe_out, R::shared_out}, {{kOut, s_.stream()}})
                          : t_.forward({R::x_mid, R::moe_out}, {{kOut, s_.stream()}});
    t_.is_residual();
  }

  void rows_to_tokens() {
    if (!by_pairs()) {
      t_.forward({R::expert_out, R::recv_choices}, {{R::back_rows, row(whole_tokens())}});
      t_.forward({R::back_rows}, {{R::moe_out, s_.stream()}});
      t_.is_exchange();
      return;
    }
    if (has_exchange_) {
      t_.forward({R::expert_out}, {{R::combined_rows, row(pairs_)}});
      t_.is_exchange();
    }
    t_.forward({has_exchange_ ? R::combined_rows : R::expert_out, R::choices}, {{R::moe_out, s_.stream()}});
  }

  void gradients() {
    gradients_to_experts();
    const R d_out = splits_experts() ? R::d_expert_full : R::d_expert_out;
    const R d_in = splits_experts() ? R::d_gathered_in : R::d_expert_in;
    const R d_probs = splits_experts() ? R::d_gathered_probs : R::d_expert_probs;
    if (splits_experts()) t_.input_grad({R::d_expert_out}, {{R::d_expert_full, row_operand(expert_rows_)}});
    t_.input_grad({d_out}, {{R::d_expert_act, s_.plain(expert_rows_, fe())}});
    t_.weight_grad({R::expert_act, d_out});
    t_.input_grad(
        {act_in(), splits_experts() ? R::gathered_probs : R::expert_probs, R::d_expert_act},
        {{R::d_expert_fc1, s_.plain(expert_rows_, s_.model.fc1_width(fe()))}, {d_probs, kFloat * expert_rows_}});
    t_.input_grad({R::d_expert_fc1}, {{d_in, row(expert_rows_)}});
    t_.weight_grad({splits_experts() ? R::gathered_in : R::expert_in, R::d_expert_fc1});
    if (splits_experts()) {
      t_.input_grad({R::d_gathered_in, R::d_gathered_probs},
                    {{R::d_expert_in, row(rows_)}, {R::d_expert_probs, kFloat * rows_}});
    }
    gradients_to_tokens();
    t_.input_grad({R::scores, R::choices, R::d_probs, R::d_norm2},
                  {{R::d_router_logits, kFloat * as_double(moe_.num_experts) * s_.stream_tokens}});
    t_.weight_grad({R::norm2, R::d_router_logits});
    if (moe_.shared_width > 0) {
      if (moe_.shared_expert_gate) {
        t_.input_grad({R::norm2, R::shared_out, R::shared_gate, kGradOut, R::d_norm2},
                      {{R::d_shared_out, s_.stream()}});
      }
      add_gradients(s_, shared(s_), t_);
    }
    t_.input_grad({R::x_mid, R::d_norm2, kGradOut}, {{R::d_x_mid, s_.stream()}});
  }

  /// Gradients travel to the experts in the type in which rows do.
  void gradients_to_experts() {
    const Made d_out(R::d_expert_out, row_operand(rows_));
    if (!by_pairs()) {
      t_.input_grad({kGradOut}, {{R::d_back_rows, row_operand(whole_tokens())}});
      t_.is_exchange();
      t_.input_grad({R::d_back_rows, R::recv_choices}, {d_out});
    } else if (has_exchange_) {
      t_.input_grad({kGradOut, R::choices}, {{R::d_combined_rows, row_operand(pairs_)}});
      t_.input_grad({R::d_combined_rows}, {d_out});
      t_.is_exchange();
    } else {
      t_.input_grad({kGradOut, R::choices}, {d_out});
    }
  }

  void gradients_to_tokens() {
    const double k = as_double(moe_.top_k);
    const Made d_norm2(R::d_norm2, s_.stream());
    if (!by_pairs()) {
      t_.input_grad({R::d_expert_in, R::d_expert_probs, R::recv_choices},
                    {{R::d_recv_rows, row(whole_tokens())}, {R::d_recv_probs, whole_probs()}});
      t_.input_grad(
          {R::d_recv_rows, R::d_recv_probs},
          {d_norm2, {R::d_probs, kFloat * s_.stream_tokens * (all_gathers() ? as_double(moe_.num_experts) : k)}});
      t_.is_exchange();
      return;
    }
    if (has_exchange_) {
      t_.input_grad({R::d_expert_in, R::d_expert_probs},
                    {{R::d_send_rows, row(pairs_)}, {R::d_send_probs, kFloat * pairs_}});
      t_.is_exchange();
    }
    t_.input_grad({has_exchange_ ? R::d_send_rows : R::d_expert_in, has_exchange_ ? R::d_send_probs : R::d_expert_probs,
                   R::choices},
                  {d_norm2, {R::d_probs, kFloat * s_.stream_tokens * k}});
  }

  const TableSizes& s_;
  const MoeBlock& moe_;
  const bool has_exchange_;
  const double pairs_, rows_, expert_rows_;
  TensorTable t_;
};

}  // namespace

TensorTable dense_table(const TableSizes& s) {
  const FeedForward mlp = dense(s);
  TensorTable t;
  t.forward({R::x_mid}, {{R::norm2, s.operand(s.stream_tokens, s.model.hidden)}}, Module::layernorm);
  add_forward(s, mlp, Module::mlp, t);
  t.forward({R::x_mid, R::ffn_out}, {{kOut, s.stream()}});
  t.is_residual();

  add_gradients(s, mlp, t);
  t.input_grad({R::x_mid, R::d_norm2, kGradOut}, {{R::d_x_mid, s.stream()}});
  return t;
}

TensorTable moe_table(const TableSizes& s) {
  CHECK(s.model.moe.has_value(), s.model.name);
  return MoeTable(s).make();
}

}  // namespace orrery::costmodel
