// SPDX-License-Identifier: Apache-2.0
// A small model on two nodes of H100, with the catalog's calibration: what explains a plan needs one.
#pragma once

#include "costmodel/calibration.h"
#include "program/plan.h"
#include "tests/unit/program/small_models.h"

namespace orrery::testing {

inline const costmodel::Calibration& h100_calibration() {
  static const costmodel::Calibration calibration =
      costmodel::read_calibration(ORRERY_SOURCE_DIR "/catalog/calibration/h100.json");
  return calibration;
}

/// 16 ranks, ep 8 and ZeRO 1, full recomputation; large enough that arithmetic counts.
inline Plan calibrated_plan() {
  Plan plan;
  plan.model = small_moe(8);
  plan.model.hidden = 1024;
  plan.model.attention = GroupedQueryAttention{.num_heads = 16, .num_kv_heads = 4, .head_dim = 64};
  plan.model.dense_width = 4096;
  plan.model.moe->expert_width = 1024;
  plan.model.vocab = 8192;
  plan.cluster = read_cluster(ORRERY_SOURCE_DIR "/catalog/clusters/h100-64.json", ORRERY_SOURCE_DIR "/catalog");
  plan.cluster.groups.front().num_nodes = 2;
  plan.batch = {.seq = 2048, .global_batch = 64};
  plan.strategy = small_strategy(plan.model, 1, 8);
  plan.strategy.zero_dense = plan.strategy.zero_expert = 1;
  plan.strategy.stages[0].recompute = {RecomputeModule::full};
  return plan;
}

}  // namespace orrery::testing
