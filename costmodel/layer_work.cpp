// SPDX-License-Identifier: Apache-2.0
#include "costmodel/layer_work.h"

#include "program/row_counts.h"
#include "program/work.h"

#include <algorithm>
#include <cmath>
#include <variant>

namespace orrery::costmodel {
namespace {

double real(std::int64_t n) { return static_cast<double>(n); }

/// Pairs of query and key of one head and sequence, the diagonal counted half.
double causal_pairs(const AttentionSpan& span, double seq) {
  const double window = real(span.window);
  if (span.is_full() || window >= seq) return seq * seq / 2.0;
  return span.chunked ? seq * window / 2.0 : window * (seq - window / 2.0);
}

struct Heads {
  double queries = 0.0, keys = 0.0, d_qk = 0.0, d_v = 0.0;
};

/// On one TP rank: it holds at least one key-value head.
Heads heads_of(const GroupedQueryAttention& a, double t) {
  return {real(a.num_heads) / t, std::max(real(a.num_kv_heads) / t, 1.0), real(a.head_dim), real(a.head_dim)};
}
Heads heads_of(const MultiHeadLatentAttention& a, double t) {
  const double n = real(a.num_heads) / t;
  return {n, n, real(a.qk_nope_dim + a.qk_rope_dim), real(a.v_head_dim)};
}

}  // namespace

PassWork& PassWork::operator+=(const PassWork& other) {
  linear += other.linear;
  experts += other.experts;
  attention += other.attention;
  tp += other.tp;
  cp += other.cp;
  ep += other.ep;
  etp += other.etp;
  return *this;
}

PartWork& PartWork::operator+=(const PartWork& other) {
  fwd += other.fwd;
  igrad += other.igrad;
  wgrad += other.wgrad;
  return *this;
}

LayerWork::LayerWork(const Model& model, const Strategy& strategy, const BatchShape& batch)
    : model_(model),
      strategy_(strategy),
      t_(real(strategy.tp)),
      c_(real(strategy.cp)),
      e_(real(strategy.ep)),
      et_(real(strategy.etp)),
      seq_(real(batch.seq)),
      tokens_(real(batch.seq * strategy.micro_batch / strategy.cp)),
      rows_(strategy.sp ? tokens_ / t_ : tokens_),
      h_(real(model.hidden)),
      element_(real(size_of(compute_dtype(strategy)))) {}

double LayerWork::operand(double width) const {
  if (strategy_.precision != DType::fp8) return width * element_;
  return real(fp8_row(std::llround(width), strategy_.fp8_recipe));
}

// Forward, input and weight gradient of a product cost the same.
PartWork LayerWork::product(double m, double n, double k) const {
  const PassWork each{.linear = 2.0 * m * n * k};
  return {each, each, each};
}

// Tensor parallelism: Korthikanti et al. (arXiv 2205.05198), section 4.2.2, and Megatron-LM's layers.py. With sequence
// parallelism the input is gathered before a column-parallel product and again for its weight gradient, and the input's
// gradient is scattered; a row-parallel one is the mirror image, its gathered gradient serving both gradients. Without,
// partial sums are all-reduced: of the input's gradient here, of the output there.
PartWork LayerWork::column(double n, double k, double row_bytes) const {
  PartWork part = product(tokens_, n, k);
  if (strategy_.sp) {
    part.fwd.tp = part.wgrad.tp = gathered(tokens_, row_bytes);
    part.igrad.tp = gathered(tokens_, k * element_);
  } else {
    part.igrad.tp = 2.0 * gathered(tokens_, k * element_);
  }
  return part;
}

PartWork LayerWork::row(double n, double k) const {
  PartWork part = product(tokens_, n, k);
  part.fwd.tp = gathered(tokens_, n * element_) * (strategy_.sp ? 1.0 : 2.0);
  if (strategy_.sp) part.igrad.tp = part.fwd.tp;
  return part;
}

PartWork LayerWork::projections() const {
  if (const auto* a = std::get_if<GroupedQueryAttention>(&model_.attention)) {
    const Heads heads = heads_of(*a, t_);
    PartWork part = column((heads.queries + 2.0 * heads.keys) * heads.d_qk, h_, operand(h_));
    part += row(h_, heads.queries * heads.d_v);
    return part;
  }
  // Down-projections are repeated on every TP rank, on the tokens that it holds (multi_latent_attention.py).
  const auto& a = std::get<MultiHeadLatentAttention>(model_.attention);
  PartWork part = product(rows_, real(a.q_lora_rank), h_);
  part += product(rows_, real(a.kv_lora_rank + a.qk_rope_dim), h_);
  part += row(h_, real(a.num_heads * a.v_head_dim) / t_);
  // The rotated key that all heads share; without sequence parallelism its gradient is reduced with its latent's row.
  const double rotated = real(a.qk_rope_dim) * element_;
  part.igrad.tp +=
      strategy_.sp ? gathered(tokens_, rotated) : 2.0 * gathered(tokens_, real(a.kv_lora_rank) * element_ + rotated);
  return part;
}

PartWork LayerWork::expansions() const {
  const auto* a = std::get_if<MultiHeadLatentAttention>(&model_.attention);
  if (!a) return {};
  const double n = real(a->num_heads) / t_, rkv = real(a->kv_lora_rank);
  const double rq = a->q_lora_rank > 0 ? real(a->q_lora_rank) : h_;  // queries come from a latent or from the stream
  PartWork part = column(n * real(a->qk_nope_dim + a->qk_rope_dim), rq, operand(rq));
  part += column(n * real(a->qk_nope_dim + a->v_head_dim), rkv, operand(rkv));
  if (strategy_.sp) part.fwd.tp += gathered(tokens_, real(a->qk_rope_dim) * element_);
  return part;
}

// Dao (FlashAttention-2, section 3.1): five products backward against two forward. Context parallelism shares the pairs
// evenly (zigzag order). Ring (arXiv 2310.01889) and all-gather (Llama 3, arXiv 2407.21783) send the keys and values of
// every rank to all others, and backward once more with their gradients; Ulysses (arXiv 2309.14509) swaps heads for
// sequence, of queries, keys, values and output.
PartWork LayerWork::core(const AttentionSpan& span) const {
  const Heads heads = std::visit([this](const auto& a) { return heads_of(a, t_); }, model_.attention);
  PartWork part;
  part.fwd.attention =
      2.0 * real(strategy_.micro_batch) * heads.queries * (heads.d_qk + heads.d_v) * causal_pairs(span, seq_) / c_;
  part.igrad.attention = 2.5 * part.fwd.attention;
  const double keys_values = tokens_ * heads.keys * (heads.d_qk + heads.d_v) * element_;
  const double queries_out = tokens_ * heads.queries * (heads.d_qk + heads.d_v) * element_;
  if (strategy_.cp_kind == ContextParallel::ulysses) {
    part.fwd.cp = part.igrad.cp = (c_ - 1.0) / c_ * (keys_values + queries_out);
  } else {
    part.fwd.cp = (c_ - 1.0) * keys_values;
    part.igrad.cp = 2.0 * part.fwd.cp;
  }
  return part;
}

PartWork LayerWork::feed_forward(double width, double row_bytes) const {
  PartWork part = column((model_.gated ? 2.0 : 1.0) * width / t_, h_, row_bytes);
  part += row(h_, width / t_);
  return part;
}

PartWork LayerWork::dense() const { return feed_forward(real(model_.dense_width), operand(h_)); }

PartWork LayerWork::shared() const {
  if (model_.moe->shared_width == 0) return {};
  return feed_forward(real(model_.moe->shared_width), h_ * element_);  // beside the router, whose input stays exact
}

// Rows go to the experts as operands and come back in the model's type, forward and backward (DeepSeek-V3, section
// 3.3.2), with what the experts need to know of them. A balanced router keeps 1/e of them at home.
PartWork LayerWork::experts() const {
  const MoeBlock& moe = *model_.moe;
  const double num_experts = real(moe.num_experts), k = real(moe.top_k);
  double pairs = rows_ * k;
  if (strategy_.capacity_factor) {  // Megatron-LM, get_capacity
    pairs = num_experts * std::ceil(pairs / num_experts * *strategy_.capacity_factor);
  }
  PartWork part = product(rows_, num_experts, h_);  // the router
  const double width = real(moe.expert_width);      // of whole experts: ETP ranks share width and rows alike
  part.fwd.experts = part.igrad.experts = part.wgrad.experts = 2.0 * pairs * h_ * width * (model_.gated ? 3.0 : 2.0);

  const double there = operand(h_), back = h_ * element_, remote = (e_ - 1.0) / e_;
  const double probability = 4.0;
  switch (strategy_.dispatcher) {
    case Dispatcher::all_to_all:
      part.fwd.ep = pairs * remote * (there + probability + back);
      part.igrad.ep = pairs * remote * (there + back + probability);
      // The experts of every other rank are told their numbers of rows, unless these are fixed.
      if (!strategy_.capacity_factor) {
        part.fwd.ep += (e_ - 1.0) * 4.0 * num_experts / e_ * real(row_counts_of_expert(strategy_));
      }
      break;
    case Dispatcher::all_gather: {  // tokens of all ranks, with a f32 score and a u8 choice of every expert
      part.fwd.ep = (e_ - 1.0) * rows_ * (there + 5.0 * num_experts + back);
      part.igrad.ep = (e_ - 1.0) * rows_ * (there + back + 4.0 * num_experts);
      break;
    }
    case Dispatcher::two_level: {  // DeepEP: once to each rank that needs it, with an i64 index and a f32 weight a
                                   // choice
      const double copies = expected_distinct(moe.num_experts, moe.top_k, strategy_.ep) * remote;
      part.fwd.ep = rows_ * copies * (there + 12.0 * k + back);
      part.igrad.ep = rows_ * copies * (there + back + 4.0 * k);
      break;
    }
  }
  // Every rank of an ETP group computes the rows of all: gathered there, summed and scattered on the way back.
  part.fwd.etp = part.igrad.etp = (et_ - 1.0) * pairs * (there + probability + back);
  return part;
}

// Each TP rank holds a part of the vocabulary: partial embeddings are summed.
PartWork LayerWork::embedding() const {
  PartWork part;
  part.fwd.tp = gathered(tokens_, h_ * element_) * (strategy_.sp ? 1.0 : 2.0);
  if (strategy_.sp) part.wgrad.tp = part.fwd.tp;
  return part;
}

// Vocabulary-parallel loss: all-reduces of the maximum, of the label's logit and of the sum, f32 for each token.
PartWork LayerWork::head() const {
  PartWork part = column(real(model_.vocab) / t_, h_, h_ * element_);
  part.fwd.tp += 2.0 * gathered(tokens_, 3.0 * 4.0);
  return part;
}

PartWork LayerWork::mtp_entry() const {
  PartWork part = embedding();
  part += product(rows_, h_, 2.0 * h_);
  return part;
}

}  // namespace orrery::costmodel
