// SPDX-License-Identifier: Apache-2.0
// What Megatron core is told of a plan, in a form that both of its front ends spell: Megatron-LM as arguments,
// Megatron-Bridge as fields of its ConfigContainer. All that core cannot do is decided here, once.
// Sources: Megatron-LM 0.20.0, megatron/training/arguments.py, megatron/core/{model_parallel_config.py,
// transformer/transformer_config.py, transformer/pipeline_parallel_layer_layout.py}; Megatron-Bridge 0.7.0,
// training/{config,comm_overlap,mixed_precision}.py.
#pragma once

#include "planner/exporters/exporter.h"

#include <string>
#include <vector>

namespace orrery::planner {

struct MegatronSetting {
  std::string flag = {};                 // "--recompute-modules"; empty: what the arguments say by leaving it out
  std::vector<std::string> values = {};  // of the flag; none: a switch
  /// "model.recompute_modules", with the values of the flag ("true" for a switch), or a whole "key=value". Several
  /// where Bridge wants them said in several places.
  std::vector<std::string> bridge;
};

/// The settings of `plan`; what cannot be one of them is listed or refused in `out`.
std::vector<MegatronSetting> megatron_settings(const Plan& plan, Export& out);

}  // namespace orrery::planner
