// SPDX-License-Identifier: Apache-2.0
// orrery fit: will it fit, what would make it fit, and how far could it go? For a model, a cluster and a strategy, or
// for a plan.
#include "base/errors.h"
#include "base/files.h"
#include "cli/cluster_check.h"
#include "cli/exit_code.h"
#include "cli/fit_report.h"
#include "cli/memory_timeline_file.h"
#include "cli/prediction.h"
#include "cli/verbs.h"
#include "costmodel/memory.h"

#include <memory>
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
  std::string calibration, framework, out, timeline;
  FitQuestions questions;
  std::vector<std::string> models;
};

/// The plan that the user gave, or one made of the three files. Its calibration is only read when it has to be known.
Plan plan_to_fit(const FitOptions& options) {
  if (options.files.size() == 1) return load_plan(options.files.front());
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
  set_framework(plan, options.framework);
  return plan;
}

int fit(const FitOptions& options) {
  const Plan plan = plan_to_fit(options);
  const std::vector<costmodel::MemoryByCause> ranks = memory_of(plan);
  const bool fits = !costmodel::why_it_does_not_fit(ranks, plan.cluster.groups.front().device);
  FitQuestions questions = options.questions;
  for (const std::string& name : options.models) {
    questions.models.push_back(load_model(options.common.inputs, name).value);
  }
  if (!options.out.empty()) write_file_atomically(options.out, to_json(plan));
  if (!options.timeline.empty()) write_memory_timeline(options.timeline, plan);

  Report report = fit_report(plan, ranks, options.common.inputs.catalog);
  if (!fits) add_remedies(report, plan, options.common.inputs.catalog);
  add_answers(report, plan, questions, options.common.inputs.catalog);
  print(report, options.common.json);
  return fits ? kSuccess : kInfeasible;
}

}  // namespace

Verb add_fit(CLI::App& app) {
  auto options = std::make_shared<FitOptions>();
  CLI::App* command = app.add_subcommand("fit", "memory of every rank, what would make it fit, and its limits");
  command->add_option("files", options->files, "PLAN, or MODEL CLUSTER STRATEGY (paths, or names of the catalog)")
      ->required();
  add_workload_options(*command, options->workload, true);
  command->add_option("--calibration", options->calibration, "for --out: calibration/1, or its name");
  add_framework_option(*command, options->framework);
  command->add_option("--out", options->out, "write the plan of exactly this strategy to this file (plan/1)");
  command->add_option("--timeline", options->timeline, "write memory over time, op by op, to this file (CSV)");
  command->add_flag("--fewest-devices", options->questions.fewest_devices, "fewest nodes on which it fits, by less dp");
  command->add_flag("--longest-sequence", options->questions.longest_sequence, "longest sequence that fits");
  command->add_flag("--largest-micro-batch", options->questions.largest_micro_batch, "largest micro-batch that fits");
  command->add_flag("--largest-layers", options->questions.largest_layers, "most layers of such a model that fit");
  command->add_option("--largest-model", options->models, "which of these models is the largest that fits");
  add_model_options(*command, options->common.inputs);
  add_cluster_options(*command, options->common.inputs);
  add_common_options(*command, options->common);
  return {command, [options] { return fit(*options); }};
}

}  // namespace orrery::cli
