// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/probe.h"

#include "base/check.h"
#include "base/json_writer.h"
#include "base/sha256.h"
#include "program/hf_config.h"
#include "program/legality.h"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

constexpr std::array<std::int64_t, 4> kMicroBatches = {1, 2, 4, 8};  // those that the planner tries
/// Micro-batches of a step, if the batch has as many: the first finds caches that the optimizer has swept.
constexpr std::int64_t kMostMicroBatches = 4;

std::vector<std::int64_t> divisors(std::int64_t n) {
  std::vector<std::int64_t> found;
  for (std::int64_t d = 1; d <= n; ++d) {
    if (n % d == 0) found.push_back(d);
  }
  return found;
}

struct Layout {
  std::int64_t tp = 1, cp = 1, pp = 1, ep = 1, etp = 1, micro_batch = 1;
  ContextParallel cp_kind = ContextParallel::ring;
  int zero = 0;
  std::int64_t seq_divisor = 1;  // of the sequence
};

/// A short sequence gives experts as few rows as an uneven router does: products are then slower for each FLOP.
constexpr std::int64_t kShortSequence = 8;

Strategy strategy_of(const Model& model, const Layout& layout, DType precision) {
  Strategy strategy;
  strategy.tp = layout.tp;
  strategy.sp = layout.tp > 1;
  strategy.cp = layout.cp;
  strategy.cp_kind = layout.cp_kind;
  strategy.pp = layout.pp;
  strategy.ep = layout.ep;
  strategy.etp = layout.etp;
  strategy.zero_dense = strategy.zero_expert = layout.zero;
  strategy.micro_batch = layout.micro_batch;
  strategy.precision = precision;
  strategy.mtp = model.num_mtp_modules > 0 ? Mtp::on : Mtp::off;
  strategy.stages = with_mtp(even_stages(model.num_layers(), layout.pp), model.num_mtp_modules);
  return strategy;
}

/// Sizes of a general probe: a dense layer and an MoE layer with two experts for each token.
struct Sizes {
  std::int64_t hidden, heads, kv_heads, head_dim, dense_width, expert_width, experts, seq, micro_batch;
};

constexpr Sizes kGeneral[] = {
    {.hidden = 64,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16,
     .dense_width = 256,
     .expert_width = 64,
     .experts = 16,
     .seq = 128,
     .micro_batch = 1},
    {.hidden = 128,
     .heads = 4,
     .kv_heads = 4,
     .head_dim = 32,
     .dense_width = 512,
     .expert_width = 256,
     .experts = 8,
     .seq = 256,
     .micro_batch = 1},
    {.hidden = 64,
     .heads = 2,
     .kv_heads = 1,
     .head_dim = 32,
     .dense_width = 128,
     .expert_width = 128,
     .experts = 4,
     .seq = 512,
     .micro_batch = 8},
    {.hidden = 256,
     .heads = 8,
     .kv_heads = 2,
     .head_dim = 32,
     .dense_width = 1024,
     .expert_width = 512,
     .experts = 16,
     .seq = 512,
     .micro_batch = 1},
    {.hidden = 512,
     .heads = 8,
     .kv_heads = 8,
     .head_dim = 64,
     .dense_width = 2048,
     .expert_width = 256,
     .experts = 8,
     .seq = 128,
     .micro_batch = 4},
    {.hidden = 1024,
     .heads = 16,
     .kv_heads = 4,
     .head_dim = 64,
     .dense_width = 4096,
     .expert_width = 1024,
     .experts = 4,
     .seq = 256,
     .micro_batch = 1},
    {.hidden = 512,
     .heads = 8,
     .kv_heads = 4,
     .head_dim = 64,
     .dense_width = 1024,
     .expert_width = 512,
     .experts = 4,
     .seq = 1024,
     .micro_batch = 2},
};

std::string config_of(const Sizes& s) {
  JsonWriter out;
  out.begin_object().field("model_type", "qwen3_moe").field("hidden_act", "silu");
  out.field("hidden_size", s.hidden).field("num_hidden_layers", 2).field("vocab_size", 1024);
  out.field("num_attention_heads", s.heads).field("num_key_value_heads", s.kv_heads).field("head_dim", s.head_dim);
  out.field("intermediate_size", s.dense_width).field("moe_intermediate_size", s.expert_width);
  out.field("num_experts", s.experts).field("num_experts_per_tok", 2).field("norm_topk_prob", true);
  out.key("mlp_only_layers").begin_array().value(0).end_array();
  out.field("max_position_embeddings", s.seq).field("rms_norm_eps", 1e-6).field("rope_theta", 10000.0);
  out.field("tie_word_embeddings", false).end_object();
  return out.text();
}

}  // namespace

std::vector<Probe> model_probes(const Source& source, const Model& model, const BatchShape& batch, DType precision,
                                std::int64_t num_ranks) {
  CHECK(num_ranks >= 1, num_ranks);
  const std::int64_t num_experts = model.moe ? model.moe->num_experts : 1;
  std::vector<Probe> probes;
  const auto add = [&](const Layout& layout) {
    const std::int64_t dp = num_ranks / (layout.tp * layout.cp * layout.pp);
    const std::int64_t of_experts = num_ranks / layout.pp;
    if (layout.pp > model.num_layers() || num_experts % layout.ep != 0 || of_experts % layout.ep != 0) return;
    const std::int64_t num_micro_batches = batch.global_batch / (dp * layout.micro_batch);
    if (num_micro_batches == 0 && layout.micro_batch > 1) return;
    const std::int64_t most = layout.pp == 1 ? kMostMicroBatches : 1;
    probes.push_back(
        {source,
         model,
         strategy_of(model, layout, precision),
         {.seq = std::max<std::int64_t>(batch.seq / layout.seq_divisor, 1),
          .global_batch = dp * layout.micro_batch * std::clamp<std::int64_t>(num_micro_batches, 1, most)}});
    // What divides what is the model's affair.
    const bool cuts_layers = layout.tp * layout.cp * layout.etp > 1;
    const Probe& last = probes.back();
    if (cuts_layers && !violations(model, last.strategy, last.batch, num_ranks).empty()) probes.pop_back();
  };
  for (const std::int64_t ep : divisors(num_ranks)) {
    for (const std::int64_t micro_batch : kMicroBatches) add({.ep = ep, .micro_batch = micro_batch});
    if (model.moe) add({.ep = ep, .seq_divisor = kShortSequence});
  }
  for (const std::int64_t pp : divisors(num_ranks)) {
    for (const std::int64_t ep : divisors(num_ranks / pp)) {
      if (pp > 1) add({.pp = pp, .ep = ep});
      if (pp < num_ranks) add({.pp = pp, .ep = ep, .zero = 1});
    }
  }
  if (num_ranks > 1) {
    for (const std::int64_t ep : divisors(num_ranks)) add({.ep = ep, .zero = 3});
  }
  for (const std::int64_t degree : divisors(num_ranks)) {
    if (degree == 1) continue;
    add({.tp = degree});
    for (const ContextParallel kind : {ContextParallel::ring, ContextParallel::all_gather, ContextParallel::ulysses}) {
      add({.cp = degree, .cp_kind = kind});
    }
    if (model.moe) add({.etp = degree});
  }
  return probes;
}

std::vector<Probe> general_probes(DType precision, std::int64_t num_ranks) {
  std::vector<Probe> probes;
  for (const Sizes& sizes : kGeneral) {
    const std::string config = config_of(sizes);
    const std::string name = fmt::format("general-{}.json", probes.size());
    const Model model = read_model_text(config, name);
    // Every other one without an exchange, so that both ways of cutting the experts are there.
    const std::int64_t ep = probes.size() % 2 == 0 ? std::gcd(num_ranks, sizes.experts) : 1;
    probes.push_back({{.path = name, .sha256 = sha256_hex(config), .content = config},
                      model,
                      strategy_of(model, {.ep = ep, .micro_batch = sizes.micro_batch, .zero = 1}, precision),
                      {.seq = sizes.seq, .global_batch = num_ranks * sizes.micro_batch}});
  }
  return probes;
}

bool is_measured(const Probe& probe, Pass pass) {
  return probe.strategy.pp == 1 || pass == Pass::sync || pass == Pass::update;
}

}  // namespace orrery::executor
