// SPDX-License-Identifier: Apache-2.0
// A user's own job: the arguments of Megatron-LM's pretraining as a strategy, a batch and what they change of a model.
// Arguments fall into four groups: read; read as something near it, with a note; known to change nothing that is
// predicted here (data, logging, checkpoints, learning rate), ignored; and unknown, which are named. An argument that
// is known to change the step in a way that a strategy has no word for is a problem. Source: Megatron-LM 0.20.0,
// megatron/training/arguments.py, megatron/training/config/*.py. How each is read: docs/formats/megatron-arguments.md.
#pragma once

#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <string>
#include <string_view>
#include <vector>

namespace orrery::planner {

struct MegatronJob {
  Model model;  // the one given, with the sizes that the arguments state
  BatchShape batch;
  Strategy strategy;
  std::vector<std::string> notes;    // sentences
  std::vector<std::string> unknown;  // names of arguments
};

/// `text`: a file of arguments, or a shell line. `model`: what they train, as far as they do not say. Whether the
/// strategy is legal on a number of devices is for program/legality.h to say.
/// Throws: ConfigError with all problems, by `file` and line.
MegatronJob read_megatron_arguments(std::string_view text, const std::string& file, const Model& model);

}  // namespace orrery::planner
