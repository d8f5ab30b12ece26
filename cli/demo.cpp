// SPDX-License-Identifier: Apache-2.0
// orrery demo: the whole road on real input. It measures this machine, plans a small MoE for it, predicts two plans,
// trains them and compares; then it plans DeepSeek-V3 for 2048 GPUs and simulates the best plan.
#include "base/errors.h"
#include "base/files.h"
#include "cli/calibration.h"
#include "cli/execution.h"
#include "cli/exit_code.h"
#include "cli/machine.h"
#include "cli/plan_search.h"
#include "cli/step_report.h"
#include "cli/trial.h"
#include "cli/verbs.h"
#include "costmodel/memory.h"
#include "program/legality.h"
#include "sim/worker_interpreter.h"

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

struct DemoOptions {
  CommonOptions common;
  std::string folder;
  double seconds = 40.0;
  std::int64_t num_steps = 8;
};

constexpr BatchShape kSmallBatch{.seq = 256, .global_batch = 16};
constexpr BatchShape kLargeBatch{.seq = 4096, .global_batch = 15360};

/// Shows each part as soon as it is there, or all of them as one JSON object.
class DemoOutput {
 public:
  explicit DemoOutput(bool json) : json_(json) {}

  void add(const std::string& key, Report report) {
    if (!json_) print(report.text() + "\n");
    whole_.section(key, std::move(report));
  }
  void finish() const {
    if (json_) print(whole_, true);
  }

 private:
  bool json_;
  Report whole_;
};

fs::path make_folder(const std::string& wanted) {
  if (!wanted.empty()) {
    fs::create_directories(wanted);
    return wanted;
  }
  std::string name = (fs::temp_directory_path() / "orrery-demo-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw BackendError(fmt::format("cannot make the folder {}", name));
  return name;
}

/// `best` with its experts spread otherwise, if that is legal and fits; else the next plan of the search.
Strategy other_strategy(const Plan& best, const planner::SearchResult& result) {
  const Device& device = best.cluster.groups.front().device;
  for (std::int64_t ep = 1; ep <= best.num_ranks(); ++ep) {
    Plan other = best;
    other.strategy.ep = ep;
    if (ep == best.strategy.ep || !violations(other.model, other.strategy, other.batch, other.num_ranks()).empty()) {
      continue;
    }
    if (!costmodel::why_it_does_not_fit(memory_of(other), device)) return other.strategy;
  }
  return result.ranked[result.ranked.size() > 1 ? 1 : 0].strategy;
}

/// Plans, or the exception that says why nothing could be planned: the demo's own inputs are known to be possible.
planner::SearchResult search(const Plan& base, const Loaded<costmodel::Calibration>& calibration) {
  auto found = search_plans(base, calibration, {.simulate = true});
  if (const auto* infeasible = std::get_if<planner::Infeasible>(&found)) throw ConfigError(infeasible->reason);
  return std::get<planner::SearchResult>(std::move(found));
}

void small_model(const DemoOptions& options, const fs::path& folder, DemoOutput& out) {
  const InputOptions& inputs = options.common.inputs;
  const fs::path calibration_path = folder / "calibration.json", cluster_path = folder / "cluster.json";
  Loaded<Model> model = load_model(inputs, "moe-tiny-cpu");
  const MachineCalibration machine = calibrate_this_machine(model.source, model.value, kSmallBatch, DType::f32,
                                                            default_num_ranks(), seconds(options.seconds));
  write_calibration(machine, calibration_path, cluster_path);
  Loaded<Cluster> cluster = load_cluster(inputs, cluster_path.string());
  const auto calibration = load_calibration(inputs, calibration_path.string(), cluster.value);
  out.add("calibration", calibration_report(machine));

  Plan base = plan_without_strategy(std::move(model), std::move(cluster), calibration.source, kSmallBatch, {});
  base.strategy.precision = DType::f32;
  const planner::SearchResult result = search(base, calibration);
  const Plan best = plan_of(base, result.ranked.front(), result, calibration.value, inputs.catalog);
  Plan other = base;
  other.strategy = other_strategy(best, result);
  out.add("plan", plan_report(best, result, 5, calibration.value, inputs.catalog));
  const auto try_plan = [&](const Plan& plan, const char* name, const char* title, bool balanced) {
    const fs::path path = folder / fmt::format("{}.json", name);
    write_file_atomically(path.string(), to_json(plan));
    Trial trial =
        run_trial(title, plan, calibration, path, {.num_steps = options.num_steps, .balanced_routing = balanced});
    out.add(name, trial_report(trial));
    return trial;
  };
  const Trial trial = try_plan(best, "best", "The best plan, run", true);
  try_plan(other, "other", "Another plan, run", true);
  try_plan(best, "best_own_router", "The best plan with the model's own router", false);
  out.add("ops", op_errors_report(trial));
}

void large_model(const DemoOptions& options, const fs::path& folder, DemoOutput& out) {
  const InputOptions& inputs = options.common.inputs;
  Loaded<Model> model = load_model(inputs, "deepseek-v3");
  Loaded<Cluster> cluster = load_cluster(inputs, "h800-2048");
  const auto calibration = load_calibration(inputs, "h800", cluster.value);
  const Plan base = plan_without_strategy(std::move(model), std::move(cluster), calibration.source, kLargeBatch, {});
  const planner::SearchResult result = search(base, calibration);
  const Plan best = plan_of(base, result.ranked.front(), result, calibration.value, inputs.catalog);
  const fs::path path = folder / "deepseek-v3.json";
  write_file_atomically(path.string(), to_json(best));
  Report report = plan_report(best, result, 4, calibration.value, inputs.catalog);
  out.add("deepseek_v3_plan", std::move(report));

  const sim::WorkerInterpreter simulator(best, calibration.path);
  Report simulation("DeepSeek-V3 on 2048 H800, simulated");
  add_prediction(simulation, best,
                 run(simulator, lower(best), {.load = best.load, .sequences = best.sequences}, path.string()),
                 calibration.value);
  out.add("deepseek_v3_simulation", std::move(simulation));
}

int demo(const DemoOptions& options) {
  const fs::path folder = make_folder(options.folder);
  DemoOutput out(options.common.json);
  small_model(options, folder, out);
  large_model(options, folder, out);
  out.add("files", Report().fact("folder", "plans, traces and calibration are in", folder.string()));
  out.finish();
  return kSuccess;
}

}  // namespace

Verb add_demo(CLI::App& app) {
  auto options = std::make_shared<DemoOptions>();
  CLI::App* command = app.add_subcommand("demo", "measures this machine, plans, trains, compares; then DeepSeek-V3");
  command->add_option("--dir", options->folder,
                      "where its files go (default: a fresh folder of the system's temporary)");
  command->add_option("--seconds", options->seconds, "how long to calibrate, about")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 60.0));
  command->add_option("--steps", options->num_steps, "steps to train")
      ->capture_default_str()
      ->check(CLI::Range(2, 1000));
  add_common_options(*command, options->common);
  return {command, [options] { return demo(*options); }};
}

}  // namespace orrery::cli
