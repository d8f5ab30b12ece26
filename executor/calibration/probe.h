// SPDX-License-Identifier: Apache-2.0
// What a calibration trains. Ops are not timed one by one in a loop, where their operands would lie in caches that
// training never finds warm: a probe is a short training run of the executor itself, and every op of it is a
// measurement of its shape. Probes of a model have exactly the shapes that its plans can have on these ranks; general
// probes spread over sizes, for models that nobody asked about.
#pragma once

#include "program/model.h"
#include "program/plan.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>
#include <vector>

namespace orrery::executor {

/// A training run of a few steps. `source` holds the config.json of the model, since ranks read it again.
struct Probe {
  Source source;
  Model model;
  Strategy strategy;
  BatchShape batch;
};

/// Probes of all layouts that `num_ranks` ranks can have: every EP degree with each micro-batch size of the planner
/// that `batch` allows, and with a short sequence; ZeRO-1 and pipelines with one of them, since they only change how
/// the step ends; ZeRO-3 likewise, whose exchanges are of one unit of the model each, as those of ZeRO-2 are; TP, each
/// kind of CP, and ETP over every group size that the model allows. Requires: a positive num_ranks.
std::vector<Probe> model_probes(const Source& source, const Model& model, const BatchShape& batch, DType precision,
                                std::int64_t num_ranks);

/// Small MoE models with hidden sizes from 64 to 1024, in ascending order of their work.
std::vector<Probe> general_probes(DType precision, std::int64_t num_ranks);

/// Whether the times of an op's pass are taken from a probe. In a pipeline some ranks idle while others work, so its
/// layers would look too fast; the end of its step is common to all ranks.
bool is_measured(const Probe& probe, Pass pass);

}  // namespace orrery::executor
