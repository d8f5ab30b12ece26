// SPDX-License-Identifier: Apache-2.0
// orrery fit: will it fit? Memory of every stage by cause, for a model, a cluster and a strategy, or for a plan.
#include "base/errors.h"
#include "base/files.h"
#include "base/units_format.h"
#include "cli/exit_code.h"
#include "cli/prediction.h"
#include "cli/step_report.h"
#include "cli/verbs.h"
#include "costmodel/memory.h"
#include "planner/remedies.h"
#include "planner/strategy_text.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {
namespace {

struct FitOptions {
  CommonOptions common;
  WorkloadOptions workload;
  std::vector<std::string> files;
  std::string calibration, out;
};

/// The plan that the user gave, or one made of the three files. Its calibration is only read when it has to be known.
Plan plan_to_fit(const FitOptions& options) {
  if (options.files.size() == 1) return read_plan(options.files.front());
  if (options.files.size() != 3) {
    throw ConfigError(fmt::format("fit: expected PLAN or MODEL CLUSTER STRATEGY, got {} files", options.files.size()));
  }
  const WorkloadOptions& workload = options.workload;
  if (workload.sequence == 0 || workload.global_batch == 0) {
    throw ConfigError("fit: expected --sequence and --global-batch beside MODEL CLUSTER STRATEGY");
  }
  Loaded<Model> model = load_model(options.common.inputs, options.files[0]);
  Loaded<Cluster> cluster = load_cluster(options.common.inputs, options.files[1]);
  Source calibration;
  if (!options.out.empty()) {
    calibration = load_calibration(options.common.inputs, options.calibration, cluster.value).source;
  }
  const BatchShape batch{.seq = workload.sequence, .global_batch = workload.global_batch};
  const Strategy strategy = read_strategy(options.files[2], model.value, batch, cluster.value.num_devices());
  Plan plan = plan_without_strategy(std::move(model), std::move(cluster), std::move(calibration), batch,
                                    parse_load(workload.load), load_sequences(workload.sequences, batch.seq));
  plan.strategy = strategy;
  return plan;
}

Table table_of(const std::vector<costmodel::MemoryByCause>& stages, const Plan& plan) {
  Table table;
  table.columns = {{"stage", "stage"},
                   {"layers", "layers"},
                   {"kinds", "dense/moe"},
                   {"weights", "weights"},
                   {"gradients", "gradients"},
                   {"optimizer", "optimizer"},
                   {"activations", "activations"},
                   {"transients", "transients"},
                   {"communication", "messages"},
                   {"reserve", "reserve"},
                   {"total", "total"}};
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const costmodel::MemoryByCause& memory = stages[i];
    const StageLayout& stage = plan.strategy.stages[i];
    std::int64_t num_dense = 0;
    for (std::int64_t layer = 0; layer < stage.num_layers; ++layer) {
      if (plan.model.kind(stage.first_layer + layer) == LayerKind::dense) ++num_dense;
    }
    std::string layers = fmt::format("{}..{}", stage.first_layer, stage.first_layer + stage.num_layers - 1);
    if (stage.embedding) layers = "embed+" + layers;
    if (stage.head) layers += "+head";
    table.rows.push_back({i, layers, fmt::format("{}/{}", num_dense, stage.num_layers - num_dense), memory.weights,
                          memory.gradients, memory.optimizer, memory.activations, memory.transients,
                          memory.communication, memory.fragmentation + memory.reserve, memory.total()});
  }
  return table;
}

int fit(const FitOptions& options) {
  const Plan plan = plan_to_fit(options);
  const Device& device = plan.cluster.groups.front().device;
  const std::vector<costmodel::MemoryByCause> stages = memory_of(plan);
  const std::optional<std::string> problem = costmodel::why_it_does_not_fit(stages, device);
  if (!options.out.empty()) write_file_atomically(options.out, to_json(plan));

  Report report("Fit");
  add_model(report, plan.model);
  add_workload(report, plan);
  add_strategy(report, plan);
  add_memory(report, costmodel::fullest(stages), device);
  report.fact("fits", "fits", !problem.has_value());
  report.table("stages", "Memory of a rank of each stage", table_of(stages, plan));
  if (problem) {
    report.note(*problem);
    Table remedies{.columns = {{"change", "change"}, {"memory", "memory"}}, .rows = {}};
    for (const planner::Remedy& remedy : planner::remedies(plan)) {
      remedies.rows.push_back({remedy.change, remedy.memory});
    }
    if (remedies.rows.empty()) {
      report.note("no single change makes it fit: orrery plan searches for several at once");
    } else {
      report.table("remedies", "Single changes that make it fit", std::move(remedies));
    }
  }
  print(report, options.common.json);
  return problem ? kInfeasible : kSuccess;
}

}  // namespace

Verb add_fit(CLI::App& app) {
  auto options = std::make_shared<FitOptions>();
  CLI::App* command = app.add_subcommand("fit", "memory of every stage, and what would make it fit");
  command->add_option("files", options->files, "PLAN, or MODEL CLUSTER STRATEGY (paths, or names of the catalog)")
      ->required();
  add_workload_options(*command, options->workload, true);
  command->add_option("--calibration", options->calibration, "for --out: calibration/1, or its name");
  command->add_option("--out", options->out, "write the plan of exactly this strategy to this file (plan/1)");
  add_model_options(*command, options->common.inputs);
  add_common_options(*command, options->common);
  return {command, [options] { return fit(*options); }};
}

}  // namespace orrery::cli
