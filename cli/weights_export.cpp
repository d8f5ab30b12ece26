// SPDX-License-Identifier: Apache-2.0
#include "cli/weights_export.h"

#include "base/errors.h"
#include "cli/prediction.h"
#include "cli/report.h"
#include "executor/checkpoint/hf_export.h"
#include "executor/runtime/saved_state.h"
#include "program/plan.h"

#include <cstdio>
#include <map>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {

using executor::CheckpointReader;
using executor::StoredType;

void add_weights_export_options(CLI::App& command, WeightsExport& options) {
  const std::map<std::string, StoredType> types = {
      {"f32", StoredType::f32}, {"bf16", StoredType::bf16}, {"f16", StoredType::f16}};
  command.add_option("--checkpoint", options.checkpoint,
                     "to huggingface: the folder of checkpoints, of which the last complete one is written");
  command.add_option("--type", options.type, "to huggingface: of the elements (default: bf16)")
      ->transform(CLI::CheckedTransformer(types))
      ->option_text("f32|bf16|f16");
}

void export_weights(const std::string& plan_path, const WeightsExport& options, const std::string& out, bool json) {
  if (options.checkpoint.empty()) throw ConfigError("--to huggingface: expected --checkpoint DIR, got none");
  if (out.empty()) throw ConfigError("--to huggingface: expected --out FOLDER, got none");
  const Plan plan = read_plan(plan_path);
  const HfTensors names(plan.model, plan.model_source.content, plan.model_source.path);
  const auto path = executor::last_checkpoint(options.checkpoint);
  if (!path) {
    throw ConfigError({Problem{.file = options.checkpoint, .message = "expected a complete checkpoint, got none"}});
  }
  const CheckpointReader checkpoint(*path);
  const executor::TrainingIdentity& training = checkpoint.manifest().training;
  if (training.model_sha256 != plan.model_source.sha256) {
    throw ConfigError(
        {Problem{.file = path->string(),
                 .message = fmt::format("expected model {} (sha256 {}) of the plan, got {} ({})", plan.model.name,
                                        plan.model_source.sha256, training.model, training.model_sha256)}});
  }
  const StepProgram program = lower(plan);
  check_tensors(path->string(), checkpoint.manifest().tensors, executor::tensors_of(program));
  const executor::ExportedFolder done = export_hf(checkpoint, names, executor::whole_parameters(program),
                                                  plan.model_source.content, {.type = options.type}, out);
  for (const std::string& departure : names.departures()) {
    fmt::print(stderr, "orrery: export: trained otherwise than {} runs: {}\n", plan.model.family, departure);
  }
  Report report("Weights for Hugging Face");
  report.fact("model", "model", plan.model.name).fact("checkpoint", "checkpoint", path->string());
  report.fact("step", "steps trained", checkpoint.manifest().step);
  report.fact("tensors", "tensors", done.num_tensors).fact("bytes", "size", bytes(static_cast<double>(done.bytes)));
  report.fact("files", "files", static_cast<std::int64_t>(done.files.size())).fact("folder", "folder", out);
  print(report, json);
}

}  // namespace orrery::cli
