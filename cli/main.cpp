// SPDX-License-Identifier: Apache-2.0
#include "cli/exit_code.h"
#include "cli/progress.h"
#include "cli/verbs.h"

#include <cstdio>
#include <vector>

#include <CLI/CLI.hpp>

namespace orrery::cli {
namespace {

int run(int argc, const char* const* argv) {
  exit_on_interrupt();
  set_up_log();
  set_command_line(argc, argv);
  CLI::App app("Plans, predicts and runs the training of mixture-of-experts models.", "orrery");
  app.set_version_flag("--version", version());
  app.require_subcommand(1);
  const std::vector<Verb> verbs = {
      add_demo(app),     add_detect(app),   add_fit(app),     add_topology(app),        add_plan(app),
      add_estimate(app), add_simulate(app), add_execute(app), add_compare(app),         add_calibrate(app),
      add_validate(app), add_explain(app),  add_export(app),  add_simulate_worker(app), add_platform_worker(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::fprintf(stderr, "orrery: %s\n  hint: orrery --help, orrery VERB --help\n", error.what());
    return kBadInput;
  }
  for (const Verb& verb : verbs) {
    if (verb.command->parsed()) return verb.run();
  }
  return kInternal;
}

}  // namespace
}  // namespace orrery::cli

int main(int argc, char** argv) {
  try {
    return orrery::cli::run(argc, argv);
  } catch (...) {
    return orrery::cli::report_exception();
  }
}
