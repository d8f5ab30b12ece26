// SPDX-License-Identifier: Apache-2.0
// Models and strategies that are small enough to count by hand.
#pragma once

#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"

namespace orrery::testing {

/// One leading dense layer, then MoE layers; 8 experts of which 2 work on each token.
inline Model small_moe(std::int64_t num_layers = 4) {
  Model model;
  model.name = "small-moe";
  model.family = "mixtral";
  model.hidden = 64;
  model.vocab = 256;
  model.dense_width = 128;
  model.attention = GroupedQueryAttention{.num_heads = 4, .num_kv_heads = 2, .head_dim = 16};
  model.moe = MoeBlock{.num_experts = 8, .top_k = 2, .expert_width = 32};
  model.layers.assign(static_cast<std::size_t>(num_layers), LayerKind::moe);
  model.layers.front() = LayerKind::dense;
  return model;
}

/// The same with latent attention, shared experts and the aux-free bias, as DeepSeek-V3 has them.
inline Model small_mla() {
  Model model = small_moe();
  model.attention = MultiHeadLatentAttention{
      .num_heads = 4, .q_lora_rank = 24, .kv_lora_rank = 16, .qk_nope_dim = 8, .qk_rope_dim = 4, .v_head_dim = 8};
  model.moe->shared_width = 32;
  model.moe->aux_free_bias = true;
  return model;
}

inline Strategy small_strategy(const Model& model, std::int64_t pp = 1, std::int64_t ep = 1) {
  Strategy strategy;
  strategy.pp = pp;
  strategy.ep = ep;
  strategy.stages = even_stages(model.num_layers(), pp);
  return strategy;
}

/// The same under a schedule with `vpp` stages on each rank.
inline Strategy staged_strategy(const Model& model, Schedule schedule, std::int64_t pp, std::int64_t vpp,
                                std::int64_t ep = 1) {
  Strategy strategy = small_strategy(model, pp, ep);
  strategy.schedule = schedule;
  strategy.vpp = vpp;
  strategy.stages = even_stages(model.num_layers(), strategy.num_stages());
  return strategy;
}

/// Stages on each rank that a schedule is tried with: as few as it allows.
inline std::int64_t least_vpp(Schedule schedule) {
  return schedule == Schedule::interleaved || schedule == Schedule::zbv || schedule == Schedule::dualpipev ? 2 : 1;
}

}  // namespace orrery::testing
