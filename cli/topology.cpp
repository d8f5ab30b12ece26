// SPDX-License-Identifier: Apache-2.0
// orrery topology: a cluster as a graph, drawn and checked.
#include "base/errors.h"
#include "base/files.h"
#include "cli/cluster_check.h"
#include "cli/exit_code.h"
#include "cli/inputs.h"
#include "cli/topology_picture.h"
#include "cli/topology_report.h"
#include "cli/verbs.h"

#include <memory>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {
namespace {

struct TopologyOptions {
  CommonOptions common;
  std::string cluster, dot, svg;
  std::int64_t num_ranks = 0, num_seeds = 0;
};

void check(const topology::Topology& topology, const std::string& file, std::int64_t num_ranks) {
  ProblemList problems;
  add_problems(topology, file, "", problems);
  if (num_ranks > topology.num_devices()) {
    problems.add({.message = fmt::format("--ranks: expected at most {}, the devices of the cluster, got {}",
                                         topology.num_devices(), num_ranks)});
  }
  problems.throw_if_any();
}

int topology(const TopologyOptions& options) {
  const Loaded<Cluster> cluster = load_any_cluster(options.common.inputs, options.cluster);
  const topology::Topology topology(cluster.value);
  check(topology, cluster.path.string(), options.num_ranks);
  const Report report = topology_report(topology, options.num_seeds);
  if (!options.dot.empty() || !options.svg.empty()) {
    const Picture picture = picture_of(topology);
    if (!options.dot.empty()) write_file_atomically(options.dot, dot_text(picture, cluster.value.name));
    if (!options.svg.empty()) write_file_atomically(options.svg, svg_text(picture, cluster.value.name));
  }
  print(report, options.common.json);
  return kSuccess;
}

}  // namespace

Verb add_topology(CLI::App& app) {
  auto options = std::make_shared<TopologyOptions>();
  CLI::App* command = app.add_subcommand("topology", "draws and checks a cluster: paths, bandwidths, bisection");
  command->add_option("cluster", options->cluster, "cluster/1 (a path, or a name of the catalog)")->required();
  command->add_option("--ranks", options->num_ranks, "check that so many ranks have a device each")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31));
  command->add_option("--ecmp-seeds", options->num_seeds, "draw equal-cost paths so many times: spread of link loads")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1000}));
  command->add_option("--dot", options->dot, "write a picture to this file, for Graphviz");
  command->add_option("--svg", options->svg, "write a picture to this file");
  add_cluster_options(*command, options->common.inputs);
  add_common_options(*command, options->common);
  return {command, [options] { return topology(*options); }};
}

}  // namespace orrery::cli
