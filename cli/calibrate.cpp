// SPDX-License-Identifier: Apache-2.0
#include "cli/calibration.h"
#include "cli/exit_code.h"
#include "cli/machine.h"
#include "cli/report.h"
#include "cli/verbs.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {
namespace {

struct CalibrateOptions {
  CommonOptions common;
  WorkloadOptions workload{.sequence = 256, .global_batch = 16};
  std::string model = "moe-tiny-cpu", out = ".";
  std::string calibration, cluster;  // paths, instead of out
  std::optional<DType> precision;
  std::int64_t num_ranks = default_num_ranks();
  double seconds = 45.0;
};

int calibrate(const CalibrateOptions& options) {
  const std::filesystem::path folder = options.out;
  const std::filesystem::path calibration =
      options.calibration.empty() ? folder / "calibration.json" : std::filesystem::path(options.calibration);
  const std::filesystem::path cluster =
      options.cluster.empty() ? folder / "cluster.json" : std::filesystem::path(options.cluster);
  if (options.calibration.empty() || options.cluster.empty()) std::filesystem::create_directories(folder);

  const Loaded<Model> model = load_model(options.common.inputs, options.model);
  const MachineCalibration machine = calibrate_this_machine(
      model.source, model.value, {.seq = options.workload.sequence, .global_batch = options.workload.global_batch},
      options.precision.value_or(DType::f32), options.num_ranks, orrery::seconds(options.seconds));
  write_calibration(machine, calibration, cluster);

  Report report = calibration_report(machine);
  report.fact("calibration", "written", calibration.string()).fact("cluster", "written", cluster.string());
  print(report, options.common.json);
  return kSuccess;
}

}  // namespace

Verb add_calibrate(CLI::App& app) {
  auto options = std::make_shared<CalibrateOptions>();
  CLI::App* command =
      app.add_subcommand("calibrate", "measures the CPU ranks of this machine: calibration and cluster");
  command->add_option("model", options->model, "whose shapes are measured first: config.json, or its name")
      ->capture_default_str();
  command->add_option("--sequence", options->workload.sequence, "tokens of a sequence")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 30));
  command->add_option("--global-batch", options->workload.global_batch, "sequences of a step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 30));
  add_precision_option(*command, options->precision, "f32");
  command->add_option("--ranks", options->num_ranks, "ranks that are busy at the same time")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command->add_option("--seconds", options->seconds, "how long to measure, about")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 3600.0));
  command->add_option("--out", options->out, "folder for calibration.json and cluster.json")->capture_default_str();
  command->add_option("--out-calibration", options->calibration, "path of the calibration instead");
  command->add_option("--out-cluster", options->cluster, "path of the cluster instead");
  add_model_options(*command, options->common.inputs);
  add_common_options(*command, options->common);
  return {command, [options] { return calibrate(*options); }};
}

}  // namespace orrery::cli
