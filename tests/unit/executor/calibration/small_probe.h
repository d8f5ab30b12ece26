// SPDX-License-Identifier: Apache-2.0
// A probe that trains in milliseconds: one dense layer and one of 8 experts, each token with two of them.
#pragma once

#include "base/sha256.h"
#include "executor/calibration/probe.h"
#include "program/hf_config.h"

#include <cstdint>
#include <string>

namespace orrery::executor::testing {

inline constexpr const char* kSmallConfig = R"({
  "model_type": "qwen3_moe", "hidden_act": "silu", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64,
  "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48,
  "moe_intermediate_size": 24, "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": true,
  "mlp_only_layers": [0], "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
  "tie_word_embeddings": false})";

inline Source small_source() {
  return {.path = "small.json", .sha256 = sha256_hex(kSmallConfig), .content = kSmallConfig};
}

inline Model small_model() { return read_model_text(kSmallConfig, "small.json"); }

/// Sequences of 16 tokens, one micro-batch of two of them for each rank of a pipeline rank.
inline Probe small_probe(std::int64_t num_ranks, std::int64_t pp = 1, std::int64_t ep = 1,
                         DType precision = DType::f32) {
  Probe probe{.source = small_source(),
              .model = small_model(),
              .strategy = {},
              .batch = {.seq = 16, .global_batch = 2 * num_ranks / pp}};
  probe.strategy.pp = pp;
  probe.strategy.ep = ep;
  probe.strategy.micro_batch = 2;
  probe.strategy.precision = precision;
  probe.strategy.stages = even_stages(probe.model.num_layers(), pp);
  return probe;
}

}  // namespace orrery::executor::testing
