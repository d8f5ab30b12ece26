// SPDX-License-Identifier: Apache-2.0
// The random cases of varied_cases.h large enough for a real machine, and that machine.
#pragma once

#include "costmodel/calibrated_cost_model.h"
#include "tests/unit/costmodel/varied_cases.h"

#include <string>
#include <variant>

namespace orrery::testing {

inline std::string repository_file(const std::string& path) { return std::string(ORRERY_SOURCE_DIR) + "/" + path; }

/// Routers of these cases multiply in f32 on ordinary cores, whatever the framework does that the catalog was fitted
/// to: bounds on ratios of two predictions were set with that.
inline costmodel::Calibration with_f32_routers(costmodel::Calibration calibration) {
  calibration.kernels->tf32 = false;
  return calibration;
}

struct H800 {
  const Cluster cluster = read_cluster(repository_file("catalog/clusters/h800-2048.json"), repository_file("catalog"));
  const costmodel::CalibratedCostModel cost{
      cluster, with_f32_routers(costmodel::read_calibration(repository_file("catalog/calibration/h800.json")))};
};

inline const H800& h800() {
  static const H800 machine;
  return machine;
}

/// The same strategy with a model and a batch large enough that arithmetic and bandwidth decide, not latencies.
inline RandomCase enlarged(RandomCase c) {
  c.model.hidden *= 64;
  c.model.dense_width *= 64;
  c.model.vocab *= 128;
  if (auto* gqa = std::get_if<GroupedQueryAttention>(&c.model.attention)) gqa->head_dim *= 8;
  if (auto* mla = std::get_if<MultiHeadLatentAttention>(&c.model.attention)) {
    mla->q_lora_rank *= 64;
    mla->kv_lora_rank *= 32;
    mla->qk_nope_dim *= 16;
    mla->qk_rope_dim *= 16;
    mla->v_head_dim *= 16;
  }
  if (c.model.moe) {
    c.model.moe->expert_width *= 64;
    c.model.moe->shared_width *= 64;
  }
  c.batch.seq = 4096;
  for (AttentionSpan& span : c.model.spans) span.window *= 64;
  return c;
}

}  // namespace orrery::testing
