// SPDX-License-Identifier: Apache-2.0
// A small plan from the catalog, for tests of the worker: four H800 on one node, two stages of two ranks.
#pragma once

#include "base/files.h"
#include "program/hf_config.h"
#include "program/lower.h"
#include "program/plan.h"

#include <filesystem>
#include <string>

namespace orrery::testing {

inline const std::filesystem::path kCatalog = std::filesystem::path(ORRERY_SOURCE_DIR) / "catalog";
inline const std::filesystem::path kCalibration = kCatalog / "calibration/h800.json";

inline Plan small_plan() {
  const std::filesystem::path model = kCatalog / "models/moe-tiny-cpu.json";
  const std::filesystem::path cluster = kCatalog / "clusters/h800-2048.json";
  const std::string sha256(64, '0');
  Plan plan;
  plan.model_source = {.path = model, .sha256 = sha256, .content = read_file(model), .ignored_keys = {}};
  plan.cluster_source = {.path = cluster, .sha256 = sha256, .content = "", .ignored_keys = {}};
  plan.calibration_source = {.path = kCalibration, .sha256 = sha256, .content = "", .ignored_keys = {}};
  plan.model = read_model(model);
  plan.cluster = read_cluster(cluster, kCatalog);
  plan.batch = {.seq = 128, .global_batch = 8};
  plan.strategy.pp = 2;
  plan.strategy.ep = 2;
  plan.strategy.stages = even_stages(plan.model.num_layers(), 2);
  for (std::int32_t rank = 0; rank < 4; ++rank) plan.device_of_rank.emplace_back(rank);
  plan.provenance.version = "0.1.0";
  return plan;
}

inline StepProgram program_of(const Plan& plan) {
  return lower(plan.model, plan.strategy, plan.batch, plan.num_ranks());
}

}  // namespace orrery::testing
