// SPDX-License-Identifier: Apache-2.0
// orrery detect: this machine as cluster/1, or several that were detected, as one.
#include "base/errors.h"
#include "base/files.h"
#include "cli/detected_cluster.h"
#include "cli/exit_code.h"
#include "cli/machine.h"
#include "cli/report.h"
#include "cli/verbs.h"

#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {
namespace {

struct DetectOptions {
  std::string catalog = default_catalog().string(), root = "/", out;
  std::vector<std::string> merge;
};

DetectedCluster detect(const DetectOptions& options) {
  if (options.merge.empty()) {
    return detected_cluster(read_node_tree(options.root, ask_nvidia_smi(options.root)), options.catalog,
                            /*min_ranks=*/2);
  }
  std::vector<Cluster> nodes;
  for (const std::string& file : options.merge) nodes.push_back(read_cluster(file, options.catalog));
  return merged(nodes);
}

int run(const DetectOptions& options) {
  const DetectedCluster found = detect(options);
  const std::string text = to_json(found.cluster);
  options.out.empty() ? print(text) : write_file_atomically(options.out, text);
  for (const std::string& question : found.questions) fmt::print(stderr, "orrery: detect: {}\n", question);
  return kSuccess;
}

}  // namespace

Verb add_detect(CLI::App& app) {
  auto options = std::make_shared<DetectOptions>();
  CLI::App* command = app.add_subcommand("detect", "writes this machine as cluster/1, and asks for what it cannot see");
  command->add_option("--out", options->out, "write to this file instead of stdout");
  command->add_option("--merge", options->merge,
                      "files that detect wrote on nodes, one each; writes all of them as one cluster");
  command->add_option("--catalog", options->catalog, "folder of models, devices, clusters and calibrations")
      ->capture_default_str();
  command->add_option("--root", options->root, "a tree with sys/ and proc/ of another machine, for tests")->group("");
  return {command, [options] { return run(*options); }};
}

}  // namespace orrery::cli
