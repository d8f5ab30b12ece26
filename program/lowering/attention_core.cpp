// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/attention_core.h"

namespace orrery::lowering {
namespace {

using R = TensorRole;

class CoreRules {
 public:
  CoreRules(const RuleContext& context, const AttentionCore& core, BlockRules& rules)
      : c_(context), core_(core), rules_(rules), cp_(context.strategy.cp), rows_(context.token_rows()) {}

  void add() {
    if (cp_ == 1) return whole();
    switch (c_.strategy.cp_kind) {
      case ContextParallel::ring:
        ring_forward();
        return ring_backward();
      case ContextParallel::all_gather:
        return all_gather();
      case ContextParallel::ulysses:
        return ulysses();
    }
  }

 private:
  /// `queries` of each sequence against `keys`; `share` of the heads are on this rank.
  AttentionShape shape(std::int64_t queries, std::int64_t keys, std::int64_t share = 1) const {
    return {.batch = c_.strategy.micro_batch,
            .heads = core_.heads / share,
            .kv_heads = core_.kv_heads / share,
            .seq = queries,
            .kv_seq = keys,
            .d_qk = core_.d_qk,
            .d_v = core_.d_v,
            .window = core_.span.window,
            .chunked = core_.span.chunked,
            .dtype = c_.dtype};
  }
  OpRule attend(Pass pass, const AttentionShape& shape, const std::vector<RoleUse>& uses,
                std::int64_t round = -1) const {
    OpRule rule = c_.with_shape(OpCode::attn_core, pass, Queue::compute, shape, uses);
    rule.bucket = static_cast<std::int16_t>(round);
    return rule;
  }
  OpRule exchange(OpCode op, Pass pass, CollectiveKind kind, std::int64_t bytes, const std::vector<RoleUse>& uses,
                  std::int64_t round = -1) const {
    OpRule rule =
        c_.with_shape(op, pass, Queue::cp, CollectiveShape{.kind = kind, .group = Group::cp, .bytes = bytes}, uses);
    rule.bucket = static_cast<std::int16_t>(round);
    return rule;
  }

  std::vector<RoleUse> inputs(std::initializer_list<RoleUse> more) const {
    std::vector<RoleUse> uses;
    for (const R role : core_.inputs) uses.push_back(read(role));
    uses.insert(uses.end(), more);
    return uses;
  }
  std::vector<RoleUse> created_gradients() const {
    std::vector<RoleUse> uses;
    for (const AttentionCore::Gradient& gradient : core_.gradients) {
      uses.push_back(create(gradient.role, rows_, gradient.width, c_.dtype));
    }
    return uses;
  }
  static std::vector<RoleUse> joined(std::vector<RoleUse> a, const std::vector<RoleUse>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }

  RoleUse created_out() const { return create(R::attn_out, rows_, core_.out_width(), c_.dtype); }
  RoleUse created_lse() const { return create(R::lse, rows_, core_.heads, DType::f32); }
  RoleUse kv(R role, std::int64_t share = 1) const {
    return create(role, {Rows::Kind::fixed, rows_.count * share}, core_.kv_width(), c_.dtype);
  }
  std::int64_t kv_bytes() const { return c_.tokens * core_.kv_width() * size_of(c_.dtype); }

  void whole() {
    const AttentionShape all = shape(c_.seq, c_.seq);
    rules_.fwd.push_back(attend(Pass::fwd, all, inputs({created_out(), created_lse()})));
    rules_.igrad.push_back(attend(
        Pass::igrad, all, joined(inputs({read(R::attn_out), read(R::lse), read(R::d_attn_out)}), created_gradients())));
  }

  /// Keys and values that arrived before `round`: two buffers take turns. What is written into a buffer waits for what
  /// was read from it, so the op that overwrites it, or the last round, is the last to use it.
  static R arrived(std::int64_t round) { return round % 2 == 1 ? R::ring_kv : R::ring_kv_next; }

  /// The last round holds the buffer of the round before it, which no exchange overwrites.
  std::vector<RoleUse> last_read(std::int64_t round) const {
    if (round < 2 || round + 1 < cp_) return {};
    return {read(arrived(round - 1))};
  }

  /// Sends on what this rank works on in `round`.
  OpRule pass_on(Pass pass, std::int64_t round) const {
    const RoleUse next = kv(arrived(round + 1));
    std::vector<RoleUse> uses = round == 0 ? inputs({}) : std::vector{read(arrived(round))};
    if (round >= 2) uses.push_back(read(arrived(round - 1)));
    uses.push_back(next);
    return exchange(OpCode::cp_kv, pass, CollectiveKind::ring_shift, kv_bytes(), uses, round);
  }

  void ring_forward() {
    const AttentionShape block = shape(c_.seq / cp_, c_.seq / cp_);
    for (std::int64_t round = 0; round < cp_; ++round) {
      if (round + 1 < cp_) rules_.fwd.push_back(pass_on(Pass::fwd, round));
      std::vector<RoleUse> uses = round == 0 ? inputs({created_out(), created_lse()}) : inputs({read(arrived(round))});
      if (round > 0) uses = joined(last_read(round), joined(uses, {modify(R::attn_out), modify(R::lse)}));
      rules_.fwd.push_back(attend(Pass::fwd, block, uses, round));
    }
  }

  // Gradients of keys and values travel behind them and are summed on the way; the last hop brings them home.
  void ring_backward() {
    const AttentionShape block = shape(c_.seq / cp_, c_.seq / cp_);
    const std::vector<RoleUse> saved = inputs({read(R::attn_out), read(R::lse), read(R::d_attn_out)});
    for (std::int64_t round = 0; round < cp_; ++round) {
      if (round + 1 < cp_) rules_.igrad.push_back(pass_on(Pass::igrad, round));
      if (round == 0) {
        rules_.igrad.push_back(attend(Pass::igrad, block, joined(saved, created_gradients()), round));
        continue;
      }
      std::vector<RoleUse> uses = joined(last_read(round), joined(saved, {read(arrived(round))}));
      for (const AttentionCore::Gradient& gradient : core_.gradients) {
        if (gradient.role != core_.d_kv || core_.gradients.size() == 1) uses.push_back(modify(gradient.role));
      }
      uses.push_back(kv(R::ring_dkv_part));
      rules_.igrad.push_back(attend(Pass::igrad, block, uses, round));
      std::vector<RoleUse> hop = {read(R::ring_dkv_part)};
      if (round > 1) hop.push_back(read(R::ring_dkv));
      hop.push_back(round + 1 < cp_ ? kv(R::ring_dkv) : modify(core_.d_kv));
      rules_.igrad.push_back(exchange(OpCode::cp_dkv, Pass::igrad, CollectiveKind::ring_shift, kv_bytes(), hop, round));
    }
  }

  void all_gather() {
    const AttentionShape all = shape(c_.seq / cp_, c_.seq);
    const auto gathered = [&](Pass pass) {
      return exchange(OpCode::cp_kv, pass, CollectiveKind::all_gather, cp_ * kv_bytes(), inputs({kv(R::kv_full, cp_)}));
    };
    rules_.fwd.push_back(gathered(Pass::fwd));
    rules_.fwd.push_back(attend(Pass::fwd, all, inputs({read(R::kv_full), created_out(), created_lse()})));
    rules_.igrad.push_back(gathered(Pass::igrad));
    std::vector<RoleUse> uses =
        joined(inputs({read(R::kv_full), read(R::attn_out), read(R::lse), read(R::d_attn_out)}), created_gradients());
    uses.push_back(kv(R::d_kv_full, cp_));
    rules_.igrad.push_back(attend(Pass::igrad, all, uses));
    rules_.igrad.push_back(exchange(OpCode::cp_dkv, Pass::igrad, CollectiveKind::reduce_scatter, cp_ * kv_bytes(),
                                    {read(R::d_kv_full), modify(core_.d_kv)}));
  }

  void ulysses() {
    const AttentionShape share = shape(c_.seq, c_.seq, cp_);
    const std::int64_t in_width = (core_.q_width() + core_.kv_width()) / cp_, out_width = core_.out_width() / cp_;
    const Rows rows{Rows::Kind::fixed, c_.tokens * cp_};
    const std::int64_t in_bytes = c_.tokens * cp_ * in_width * size_of(c_.dtype);
    const std::int64_t out_bytes = c_.tokens * cp_ * out_width * size_of(c_.dtype);
    const auto swapped = [&](OpCode op, Pass pass, std::int64_t bytes, const std::vector<RoleUse>& uses) {
      return exchange(op, pass, CollectiveKind::all_to_all, bytes, uses);
    };
    rules_.fwd.push_back(
        swapped(OpCode::cp_in, Pass::fwd, in_bytes, inputs({create(R::core_in, rows, in_width, c_.dtype)})));
    rules_.fwd.push_back(attend(Pass::fwd, share,
                                {read(R::core_in), create(R::core_out, rows, out_width, c_.dtype),
                                 create(R::lse, rows, core_.heads / cp_, DType::f32)}));
    rules_.fwd.push_back(swapped(OpCode::cp_out, Pass::fwd, out_bytes, {read(R::core_out), created_out()}));

    rules_.igrad.push_back(swapped(OpCode::cp_out, Pass::igrad, out_bytes,
                                   {read(R::d_attn_out), create(R::d_core_out, rows, out_width, c_.dtype)}));
    rules_.igrad.push_back(attend(Pass::igrad, share,
                                  {read(R::core_in), read(R::core_out), read(R::lse), read(R::d_core_out),
                                   create(R::d_core_in, rows, in_width, c_.dtype)}));
    rules_.igrad.push_back(
        swapped(OpCode::cp_in, Pass::igrad, in_bytes, joined({read(R::d_core_in)}, created_gradients())));
  }

  const RuleContext& c_;
  const AttentionCore& core_;
  BlockRules& rules_;
  const std::int64_t cp_;
  const Rows rows_;
};

}  // namespace

void add_attention_ends(const RuleContext& c, const RowParallel& out, BlockRules& rules) {
  const std::int64_t h = c.model.hidden;
  const Rows local = c.local_rows();
  if (out.in == R::attn_operand) {
    rules.fwd.push_back(c.memory(OpCode::attn_quant, Pass::fwd, 2 * out.k,
                                 {read(R::attn_out), c.create_operand(R::attn_operand, c.token_rows(), out.k)}));
  }
  TensorParallel(c).forward(out, rules.fwd);
  rules.fwd.push_back(
      c.memory(OpCode::attn_residual, Pass::fwd, h, {read(R::x), read(R::proj), create(R::x_mid, local, h, c.dtype)}));
  rules.igrad.push_back(c.memory(OpCode::attn_norm, Pass::igrad, 10 * h,
                                 {read(R::x), read(R::d_norm1), read(R::d_x_mid), create(R::d_x, local, h, c.dtype)}));
}

void add_attention_core(const RuleContext& context, const AttentionCore& core, BlockRules& rules) {
  CoreRules(context, core, rules).add();
}

}  // namespace orrery::lowering
