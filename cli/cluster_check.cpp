// SPDX-License-Identifier: Apache-2.0
#include "cli/cluster_check.h"

#include "program/topology/check.h"

#include <utility>

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

Plan load_plan(const std::string& path) {
  Plan plan = read_plan(path);
  require_whole(plan.cluster, path, "/cluster/content");
  return plan;
}

}  // namespace orrery::cli
