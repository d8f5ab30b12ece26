// SPDX-License-Identifier: Apache-2.0
// orrery validate: how far are we from what others measured? Scores predictions against published runs (runs/1).
#include "base/errors.h"
#include "base/files.h"
#include "base/json_reader.h"
#include "cli/collective_validation.h"
#include "cli/exit_code.h"
#include "cli/inputs.h"
#include "cli/kernel_validation.h"
#include "cli/memory_validation.h"
#include "cli/report.h"
#include "cli/time_validation.h"
#include "cli/verbs.h"
#include "costmodel/validation/memory_score.h"
#include "costmodel/validation/runs.h"

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {
namespace {

struct ValidateOptions {
  CommonOptions common;
  std::string runs;
  bool memory = false, time_alone = false, collectives = false;
  std::string runs_out, memory_intervals_out;  // empty: not wanted
  TimeOptions time;
  bool cross_validate = false;

  bool wants_memory() const { return memory || !time_alone; }
  bool wants_time() const { return time_alone || !memory; }
};

/// What is asked of step times alone, or of predictions.
void check(const ValidateOptions& options) {
  if (!options.memory_intervals_out.empty() && (options.collectives || !options.wants_memory())) {
    throw ConfigError("--memory-intervals-out: expected --memory, whose results it writes");
  }
  if (options.collectives || !options.wants_time()) {
    for (const auto& [flag, value] :
         {std::pair("--plot", &options.time.plot), std::pair("--factors-out", &options.time.factors_out)}) {
      if (!value->empty()) throw ConfigError(fmt::format("{}: expected --time, whose results it writes", flag));
    }
  }
}

/// Memory and step times, or the one that was asked for.
Report runs_report(const ValidateOptions& options, const costmodel::RunsFile& file,
                   const costmodel::DeviceLookup& device_of) {
  Report memory, time;
  std::string lines;
  if (options.wants_memory()) {
    const costmodel::MemoryScore score = costmodel::score_memory(file, device_of);
    memory = memory_report(score, options.cross_validate);
    lines += memory_lines(score);
    if (!options.memory_intervals_out.empty()) {
      write_file_atomically(options.memory_intervals_out, memory_intervals_file(score));
    }
  }
  if (options.wants_time()) {
    time = time_report(file, device_of, options.common.inputs.catalog, options.time, options.cross_validate, lines);
  }
  if (!options.runs_out.empty()) write_file_atomically(options.runs_out, lines);
  if (!options.wants_time()) return memory;
  if (!options.wants_memory()) return time;
  return Report().section("memory", std::move(memory)).section("time", std::move(time));
}

int validate(ValidateOptions options) {
  check(options);
  options.time.all_families = options.common.json;
  const auto lookup = [&](const std::string& name) { return device_of_catalog(options.common.inputs.catalog, name); };
  const JsonDocument document = JsonDocument::parse_file(options.runs);
  if (options.collectives) {
    print(collective_report(document, lookup, options.common.inputs.catalog, options.runs_out), options.common.json);
    return kSuccess;
  }
  if (const JsonValue schema = document.root().required("schema"); schema.is_text("calibration/1")) {
    print(kernel_report(costmodel::read_calibration(options.runs), lookup), options.common.json);
    return kSuccess;
  }
  print(runs_report(options, costmodel::read_runs(document), lookup), options.common.json);
  return kSuccess;
}

}  // namespace

Verb add_validate(CLI::App& app) {
  auto options = std::make_shared<ValidateOptions>();
  CLI::App* command = app.add_subcommand("validate", "how far predictions are from published, measured runs");
  command->add_option("runs", options->runs, "runs/1, or a calibration/1 whose kernels are scored by its own points")
      ->required();
  command->add_flag("--memory", options->memory, "score memory, and step times only if asked for, too");
  command->add_flag("--time", options->time_alone, "score step times, and memory only if asked for, too");
  command->add_flag("--collectives", options->collectives, "score measured curves of collectives");
  command->add_option("--runs-out", options->runs_out,
                      "write each prediction and each run without one there, a JSON line each");
  command->add_option("--plot", options->time.plot, "draw predicted over measured there (SVG)");
  command->add_option("--factors-out", options->time.factors_out,
                      "write the factors that --cross-validate fits to all runs there (time_factors/1)");
  command->add_option("--memory-intervals-out", options->memory_intervals_out,
                      "write the 80 % intervals of memory there (memory_intervals/1)");
  command->add_flag(
      "--cross-validate", options->cross_validate,
      "memory: judge each width by the fragmentation of the others; time: fit anew, each model and GPU held out");
  add_common_options(*command, options->common);
  return {command, [options] { return validate(*options); }};
}

}  // namespace orrery::cli
