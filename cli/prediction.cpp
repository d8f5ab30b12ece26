// SPDX-License-Identifier: Apache-2.0
#include "cli/prediction.h"

#include "base/errors.h"
#include "cli/intervals.h"
#include "cli/options.h"
#include "costmodel/calibrated_cost_model.h"
#include "program/arrivals.h"
#include "program/lower.h"

#include <utility>

#include <fmt/format.h>

namespace orrery::cli {

Plan plan_without_strategy(Loaded<Model> model, Loaded<Cluster> cluster, Source calibration, const BatchShape& batch,
                           LoadModel load, SequenceModel sequences) {
  if (const std::string missing = missing_popularity(load, model.value); !missing.empty()) {
    throw ConfigError("--load: " + missing);
  }
  Plan plan;
  plan.model = std::move(model.value);
  plan.model_source = std::move(model.source);
  plan.cluster = std::move(cluster.value);
  plan.cluster_source = std::move(cluster.source);
  plan.calibration_source = std::move(calibration);
  plan.batch = batch;
  plan.load = std::move(load);
  plan.sequences = std::move(sequences);
  plan.provenance = {.version = version(), .seed = 1, .command = command_line()};
  return plan;
}

void set_framework(Plan& plan, const std::string& framework) {
  if (!framework.empty() && plan.cluster.groups.front().device.kind == DeviceKind::cpu) {
    throw ConfigError(
        fmt::format("--framework {}: expected GPUs, got cluster \"{}\" of CPU ranks", framework, plan.cluster.name));
  }
  plan.framework = framework;
}

Plan plan_of(const Plan& base, const planner::RankedPlan& found, const planner::SearchResult& result,
             const costmodel::Calibration& calibration, const std::filesystem::path& catalog) {
  Plan plan = base;
  plan.strategy = found.strategy;
  plan.predictions = found.predictions;
  plan.certificate = result.certificate;
  set_intervals(plan, found.extrapolated, calibration, catalog);
  return plan;
}

std::shared_ptr<const costmodel::CostModel> cost_model_of(const Plan& plan, const costmodel::Calibration& calibration) {
  return std::make_shared<costmodel::CalibratedCostModel>(plan, calibration);
}

std::vector<costmodel::MemoryByCause> memory_of(const Plan& plan, std::optional<double> rho) {
  auto parameters = costmodel::MemoryModel::of(plan.cluster.groups.front().device, plan.framework);
  parameters.rho = rho ? *rho : FullestShare(plan.model, plan.load, plan.experts).of(plan.strategy);
  return costmodel::memory_per_stage(plan.model, plan.strategy, plan.batch, Mesh(plan.strategy, plan.num_ranks()),
                                     parameters);
}

Trace run(const Interpreter& interpreter, const StepProgram& program, const RunInput& input,
          const std::string& plan_name) {
  if (!interpreter.available() || !interpreter.enabled()) {
    throw BackendError(fmt::format("{}: cannot run here; expected its program beside this one", interpreter.name()));
  }
  const std::vector<Unsupported> unsupported = interpreter.unsupported(program);
  if (!unsupported.empty()) throw BackendError(unsupported.front().reason);
  Trace trace = interpreter.run(program, input);
  trace.header.version = version();
  trace.header.plan = plan_name;
  return trace;
}

}  // namespace orrery::cli
