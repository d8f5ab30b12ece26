// SPDX-License-Identifier: Apache-2.0
// How a verb joins the command line. Each verb is one file with one `add_` function, which declares its options on a
// subcommand and returns what to run when that subcommand was chosen.
#pragma once

#include "cli/inputs.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace orrery::cli {

struct Verb {
  CLI::App* command = nullptr;
  /// Returns the exit code; throws the errors of base/errors.h.
  std::function<int()> run;
};

/// What every verb takes: --json, --catalog.
struct CommonOptions {
  bool json = false;
  InputOptions inputs;
};
void add_common_options(CLI::App& command, CommonOptions& options);

/// For verbs that read a config.json: --ignore-key.
void add_model_options(CLI::App& command, InputOptions& options);

/// For verbs that read a cluster: --platform, --hosts.
void add_cluster_options(CLI::App& command, InputOptions& options);

/// --precision, f32 or bf16. `otherwise` says what holds without it.
void add_precision_option(CLI::App& command, std::optional<DType>& precision, const std::string& otherwise);

/// The work of one step: --sequence, --global-batch, --load, --sequences.
struct WorkloadOptions {
  std::int64_t sequence = 0, global_batch = 0;
  std::string load = "balanced";
  std::string sequences;  // a file, or empty
};
/// --framework: whose training loop will run the plan; one that memory is known of.
void add_framework_option(CLI::App& command, std::string& framework);

/// Required unless `optional`; both sizes are then 0 when they were not given.
void add_workload_options(CLI::App& command, WorkloadOptions& options, bool optional = false);

/// The version of Orrery.
std::string version();

/// The command as it was typed, for plans; set once by main.
void set_command_line(int argc, const char* const* argv);
const std::string& command_line();

}  // namespace orrery::cli
