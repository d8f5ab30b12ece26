// SPDX-License-Identifier: Apache-2.0
// What the verbs that predict share: a plan put together from its inputs, the program it lowers to, the cost model and
// the interpreters for it.
#pragma once

#include "cli/inputs.h"
#include "costmodel/cost_model.h"
#include "costmodel/memory.h"
#include "planner/search.h"
#include "program/plan.h"
#include "traces/interpreter.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace orrery::cli {

/// Requires: the sources hold their content, as load_model and load_cluster give them.
/// Throws: ConfigError if the load is the popularity of another model's experts.
Plan plan_without_strategy(Loaded<Model> model, Loaded<Cluster> cluster, Source calibration, const BatchShape& batch,
                           LoadModel load, SequenceModel sequences = FixedLengths{});

/// Of a plan for GPUs; without a name nothing. Throws: ConfigError for CPU ranks, which our executor trains.
void set_framework(Plan& plan, const std::string& framework);

/// `base` with the strategy and the predictions of `found`, and their intervals by `calibration` and `catalog`.
Plan plan_of(const Plan& base, const planner::RankedPlan& found, const planner::SearchResult& result,
             const costmodel::Calibration& calibration, const std::filesystem::path& catalog);

std::shared_ptr<const costmodel::CostModel> cost_model_of(const Plan& plan, const costmodel::Calibration& calibration);

/// Memory of the ranks of every stage, on the plan's devices. `rho`: rows that arrive at the fullest rank's experts,
/// over those that leave it; without it, what the plan's load makes of it.
std::vector<costmodel::MemoryByCause> memory_of(const Plan& plan, std::optional<double> rho = std::nullopt);

/// Runs `program` and fills in what only the caller knows of the header. Throws: BackendError if the interpreter
/// cannot run it.
Trace run(const Interpreter& interpreter, const StepProgram& program, const RunInput& input,
          const std::string& plan_name);

}  // namespace orrery::cli
