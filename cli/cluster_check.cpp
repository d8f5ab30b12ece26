// SPDX-License-Identifier: Apache-2.0
#include "cli/cluster_check.h"

#include "base/errors.h"
#include "base/units_format.h"
#include "costmodel/framework.h"
#include "program/topology/check.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::cli {

void add_problems(const topology::Topology& topology, const std::string& file, const std::string& at,
                  ProblemList& problems) {
  for (Problem problem : topology::problems_of(topology)) {
    problem.file = file;
    problem.pointer = at + problem.pointer;
    problems.add(std::move(problem));
  }
}

void require_whole(const Cluster& cluster, const std::string& file, const std::string& at) {
  ProblemList problems;
  add_problems(topology::Topology(cluster), file, at, problems);
  problems.throw_if_any();
}

std::vector<std::string> slower_than_nics(const Cluster& cluster) {
  std::vector<std::string> notes;
  for (const NodeGroup& group : cluster.groups) {
    if (group.num_nodes < 2 || !group.nics || !group.nics->each || !group.host.pcie) continue;
    const BytesPerSecond nics =
        *group.nics->each * static_cast<double>(group.nics->per_node) / static_cast<double>(group.devices_per_node);
    if (*group.host.pcie >= nics) continue;
    notes.push_back(fmt::format(
        "PCIe of {} brings {} to a device, whose NICs have {}: times over the network count the NICs, and can be "
        "{:.2g} times too short",
        group.name, *group.host.pcie, nics, nics / *group.host.pcie));
  }
  return notes;
}

Plan load_plan(const std::string& path) {
  Plan plan = read_plan(path);
  require_whole(plan.cluster, path, "/cluster/content");
  const std::vector<std::string_view> known = costmodel::frameworks_with_memory();
  if (!plan.framework.empty() && std::find(known.begin(), known.end(), plan.framework) == known.end()) {
    throw ConfigError(
        {Problem{.file = path,
                 .pointer = "/framework",
                 .message = fmt::format("expected one of {}, got \"{}\"", fmt::join(known, ", "), plan.framework)}});
  }
  return plan;
}

}  // namespace orrery::cli
