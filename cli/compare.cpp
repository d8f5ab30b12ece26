// SPDX-License-Identifier: Apache-2.0
#include "traces/compare.h"

#include "base/json_writer.h"
#include "cli/exit_code.h"
#include "cli/report.h"
#include "cli/verbs.h"
#include "traces/trace_io.h"

#include <memory>

#include <CLI/CLI.hpp>

namespace orrery::cli {
namespace {

struct CompareOptions {
  CommonOptions common;
  std::string predicted, measured;
};

int compare_traces(const CompareOptions& options) {
  const Comparison comparison = compare(read_trace_file(options.predicted), read_trace_file(options.measured));
  if (options.common.json) {
    JsonWriter out;
    write_comparison(out, comparison);
    print(out.text());
  } else {
    print(to_text(comparison));
  }
  return kSuccess;
}

}  // namespace

Verb add_compare(CLI::App& app) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command = app.add_subcommand("compare", "how right a prediction was, op by op: two traces of one program");
  command->add_option("predicted", options->predicted, "trace/1")->required();
  command->add_option("measured", options->measured, "trace/1 to which the first is compared")->required();
  add_common_options(*command, options->common);
  return {command, [options] { return compare_traces(*options); }};
}

}  // namespace orrery::cli
