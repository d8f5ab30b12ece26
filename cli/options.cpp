// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include "costmodel/framework.h"
#include "program/dtype.h"

#include <map>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace orrery::cli {
namespace {

std::string typed_command = "orrery";

}  // namespace

void add_common_options(CLI::App& command, CommonOptions& options) {
  command.add_flag("--json", options.json, "the same output for machines");
  options.inputs.catalog = default_catalog();
  command.add_option("--catalog", options.inputs.catalog, "folder of models, devices, clusters and calibrations")
      ->capture_default_str();
}

void add_model_options(CLI::App& command, InputOptions& options) {
  command.add_option("--ignore-key", options.ignored_keys, "a key of config.json to ignore; may be repeated")
      ->allow_extra_args(false);
}

void add_cluster_options(CLI::App& command, InputOptions& options) {
  CLI::Option* platform = command.add_option("--platform", options.platform,
                                             "a platform of SimGrid (XML) that states the cluster's bandwidths");
  command
      .add_option("--hosts", options.hosts, "how it names nodes (default: node{node}), or devices: node{node}.{device}")
      ->needs(platform);
}

void add_precision_option(CLI::App& command, std::optional<DType>& precision, const std::string& otherwise) {
  command.add_option("--precision", precision, "of weights and activations: f32 or bf16 (default: " + otherwise + ")")
      ->transform(CLI::CheckedTransformer(std::map<std::string, DType>{{"f32", DType::f32}, {"bf16", DType::bf16}}))
      ->option_text("f32|bf16");
}

void add_workload_options(CLI::App& command, WorkloadOptions& options, bool optional) {
  command.add_option("--sequence", options.sequence, "tokens of a sequence")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->required(!optional);
  command.add_option("--global-batch", options.global_batch, "sequences of a step")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->required(!optional);
  command
      .add_option("--load", options.load,
                  "of the experts: balanced, dirichlet:ALPHA[:SEED], zipf:EXPONENT[:SEED], popularity:TRACE")
      ->capture_default_str();
  command.add_option("--sequences", options.sequences,
                     "sequence/1: documents of the sequences (default: one document each)");
}

void add_framework_option(CLI::App& command, std::string& framework) {
  const std::vector<std::string_view> known = costmodel::frameworks_with_memory();
  command
      .add_option("--framework", framework,
                  "that will train on GPUs, whose copies and buffers count as memory (default: nobody's)")
      ->check(CLI::IsMember(std::vector<std::string>(known.begin(), known.end())));
}

std::string version() { return ORRERY_VERSION; }

void set_command_line(int argc, const char* const* argv) {
  typed_command = "orrery";
  for (int i = 1; i < argc; ++i) typed_command += std::string(" ") + argv[i];
}

const std::string& command_line() { return typed_command; }

}  // namespace orrery::cli
