// SPDX-License-Identifier: Apache-2.0
// orrery export: a plan in the words of a trainer, or the weights that its training has left. What that trainer cannot
// express is listed, or nothing is written.
#include "base/errors.h"
#include "base/files.h"
#include "cli/exit_code.h"
#include "cli/report.h"
#include "cli/verbs.h"
#include "cli/weights_export.h"
#include "planner/exporters/exporter.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {
namespace {

struct ExportOptions {
  CommonOptions common;
  std::string plan, target, out;
  WeightsExport weights;
};

Table table_of(const std::vector<planner::ExportNote>& notes) {
  Table table{.columns = {{"key", "key"}, {"why", "why"}}, .rows = {}};
  for (const planner::ExportNote& note : notes) table.rows.push_back({note.key, note.text});
  return table;
}

void say(const std::vector<planner::ExportNote>& notes, std::string_view title) {
  if (notes.empty()) return;
  std::string text = fmt::format("{}\n", title);
  for (const planner::ExportNote& note : notes) text += fmt::format("  {}: {}\n", note.key, note.text);
  std::fputs(text.c_str(), stderr);
}

/// How to search for a plan that the trainer runs.
void say_conditions(const std::vector<planner::ExportNote>& refused) {
  std::vector<std::string> said;
  for (const planner::ExportNote& note : refused) {
    for (const std::string& condition : note.conditions) {
      if (std::ranges::find(said, condition) == said.end()) said.push_back(condition);
    }
  }
  if (said.empty()) return;
  std::fputs(fmt::format("  hint: orrery plan ... --where {}\n", fmt::join(said, " --where ")).c_str(), stderr);
}

int export_plan(const ExportOptions& options) {
  if (options.target == kHuggingFace) {
    export_weights(options.plan, options.weights, options.out, options.common.json);
    return kSuccess;
  }
  const planner::Exporter& exporter = *planner::find_exporter(options.target);
  const planner::Export found = exporter.write(read_plan(options.plan));
  const bool possible = found.refused.empty();
  if (possible && !options.out.empty()) write_file_atomically(options.out, found.text);
  if (options.common.json) {
    Report report;
    report.fact("target", "", exporter.target).fact("trainer", "", exporter.trainer).fact("form", "", exporter.form);
    report.fact("text", "", possible ? Value(found.text) : Value::unknown());
    print(report.table("listed", "", table_of(found.listed)).table("refused", "", table_of(found.refused)), true);
  } else if (possible && options.out.empty()) {
    print(found.text);
  }
  say(found.refused, fmt::format("infeasible: {} cannot do what this plan says", exporter.trainer));
  say_conditions(found.refused);
  say(found.listed, fmt::format("not expressed in {} of {}:", exporter.form, exporter.trainer));
  return possible ? kSuccess : kInfeasible;
}

}  // namespace

Verb add_export(CLI::App& app) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command = app.add_subcommand("export", "writes a plan as a trainer reads it, or says why it cannot");
  command->add_option("plan", options->plan, "plan/1")->required();
  std::vector<std::string> targets;
  for (const planner::Exporter& exporter : planner::exporters()) targets.emplace_back(exporter.target);
  targets.emplace_back(kHuggingFace);
  command->add_option("--to", options->target, "the trainer, or huggingface for the weights of a checkpoint")
      ->required()
      ->check(CLI::IsMember(targets));
  command->add_option("--out", options->out, "write to this file instead of stdout; to huggingface: the folder");
  add_weights_export_options(*command, options->weights);
  add_common_options(*command, options->common);
  return {command, [options] { return export_plan(*options); }};
}

}  // namespace orrery::cli
