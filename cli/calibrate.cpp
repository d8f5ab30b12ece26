// SPDX-License-Identifier: Apache-2.0
#include "base/errors.h"
#include "base/files.h"
#include "cli/calibration.h"
#include "cli/exit_code.h"
#include "cli/job.h"
#include "cli/machine.h"
#include "cli/report.h"
#include "cli/verbs.h"
#include "costmodel/framework.h"
#include "costmodel/validation/kernel_score.h"
#include "costmodel/validation/time_factors.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

struct CalibrateOptions {
  CommonOptions common;
  WorkloadOptions workload{.sequence = 256, .global_batch = 16};
  std::string model = "moe-tiny-cpu", out = ".";
  std::string calibration, cluster;            // paths, instead of out
  std::string device, framework = "megatron";  // of the catalog, instead of this machine
  std::optional<DType> precision;
  std::int64_t num_ranks = default_num_ranks();
  double seconds = 45.0;
  JobFlags job;
};

/// What the catalog's tables and factors say of a device, without measuring anything.
int calibrate_from_catalog(const CalibrateOptions& options) {
  const std::filesystem::path folder = options.common.inputs.catalog / "calibration";
  const std::filesystem::path tables = folder / "tables" / (options.device + ".json");
  if (!std::filesystem::exists(tables)) {
    throw ConfigError(fmt::format("--device: expected a device with a table in {}, got \"{}\"",
                                  (folder / "tables").string(), options.device));
  }
  const costmodel::TimeFactors factors = costmodel::read_time_factors(folder / "factors" / "training.json");
  std::vector<std::string> known;
  for (const auto& [owner, knobs] : factors.of) {
    if (!owner.starts_with("framework ")) continue;
    const std::string name = owner.substr(std::string_view("framework ").size());
    if (costmodel::framework_named(name).name == name) known.push_back(name);  // and not "adapters", of no framework
  }
  if (std::find(known.begin(), known.end(), options.framework) == known.end()) {
    throw ConfigError(
        fmt::format("--framework: expected one of {}, got \"{}\"", fmt::join(known, ", "), options.framework));
  }
  const costmodel::Calibration table = costmodel::read_calibration(tables);
  costmodel::Calibration calibration = costmodel::with_factors(table, factors, options.device, options.framework);
  const std::optional<Device> device = device_of_catalog(options.common.inputs.catalog, options.device);
  if (device && table.kernels && !table.points.empty()) {
    calibration.residuals = costmodel::residuals_of(costmodel::score_kernels(table, *device));
  }
  const std::string path = options.calibration.empty() ? options.device + ".json" : options.calibration;
  write_file_atomically(path, costmodel::to_json(calibration));
  Report report("Calibration of the catalog");
  report.fact("device", "device", options.device).fact("framework", "framework", options.framework);
  report.fact("calibration", "written", path);
  print(report, options.common.json);
  return kSuccess;
}

constexpr auto kTimeOut = std::chrono::minutes(2);  // for a process that does not come

/// What all processes must have in common to measure together.
executor::JobFacts facts_of(const CalibrateOptions& options, const Source& model, DType precision) {
  return {{"model", model.sha256},
          {"sequence", std::to_string(options.workload.sequence)},
          {"global batch", std::to_string(options.workload.global_batch)},
          {"precision", std::string(name_of(precision))},
          {"ranks", std::to_string(options.num_ranks)},
          {"seconds", fmt::format("{}", options.seconds)}};
}

int calibrate(const CalibrateOptions& options) {
  if (!options.device.empty()) return calibrate_from_catalog(options);
  const std::filesystem::path folder = options.out;
  const std::filesystem::path calibration =
      options.calibration.empty() ? folder / "calibration.json" : std::filesystem::path(options.calibration);
  const std::filesystem::path cluster =
      options.cluster.empty() ? folder / "cluster.json" : std::filesystem::path(options.cluster);
  const Loaded<Model> model = load_model(options.common.inputs, options.model);
  const DType precision = options.precision.value_or(DType::f32);
  const std::unique_ptr<executor::Job> job =
      join_job(options.job, static_cast<int>(options.num_ranks), facts_of(options, model.source, precision), kTimeOut,
               fmt::format("calibrate --ranks {}", options.num_ranks));
  const bool is_first = !job || job->is_first();
  if (is_first && (options.calibration.empty() || options.cluster.empty())) {
    std::filesystem::create_directories(folder);
  }
  const MachineCalibration machine = calibrate_this_machine(
      model.source, model.value, {.seq = options.workload.sequence, .global_batch = options.workload.global_batch},
      precision, options.num_ranks, orrery::seconds(options.seconds), job.get());
  if (job) job->finish();
  if (!is_first) return kSuccess;
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
  command->add_option("--device", options->device,
                      "write the catalog's calibration of this device instead of measuring this machine");
  command->add_option("--framework", options->framework, "that trains on the device: megatron, nanotron, ...")
      ->capture_default_str();
  add_job_options(*command, options->job);
  add_model_options(*command, options->common.inputs);
  add_common_options(*command, options->common);
  return {command, [options] { return calibrate(*options); }};
}

}  // namespace orrery::cli
