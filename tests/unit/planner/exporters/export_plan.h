// SPDX-License-Identifier: Apache-2.0
// A plan that every target can express, on 64 devices, for what tests change of it.
#pragma once

#include "planner/exporters/exporter.h"
#include "tests/conformance/programs.h"
#include "tests/unit/program/small_models.h"

#include <algorithm>
#include <string>
#include <vector>

namespace orrery::testing {

/// Eight layers of a model with latent attention, shared experts and a prediction module (which is off), one stage.
inline Plan plan_to_export() {
  Plan plan;
  plan.model = small_mla();
  plan.model.layers.assign(8, LayerKind::moe);
  plan.model.layers.front() = LayerKind::dense;
  plan.model.num_mtp_modules = 1;
  plan.model.moe->aux_free_bias = false;
  plan.cluster = small_cluster(8, 8);
  plan.batch = {.seq = 256, .global_batch = 256};
  plan.strategy = small_strategy(plan.model);
  return plan;
}

inline planner::Export exported(const std::string& target, const Plan& plan) {
  return planner::find_exporter(target)->write(plan);
}

/// "key: why", of each note.
inline std::vector<std::string> lines_of(const std::vector<planner::ExportNote>& notes) {
  std::vector<std::string> lines;
  for (const planner::ExportNote& note : notes) lines.push_back(note.key + ": " + note.text);
  return lines;
}

}  // namespace orrery::testing
