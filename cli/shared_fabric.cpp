// SPDX-License-Identifier: Apache-2.0
#include "cli/shared_fabric.h"

#include "base/errors.h"
#include "cli/number_list.h"
#include "program/rank_devices.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace orrery::cli {
namespace {

using Fabric = std::pair<Cluster, Source>;

/// `plan` on the nodes of `fabric`, ranks in the order of its strategy.
void place(Plan& plan, const Fabric& fabric, std::string_view nodes, const std::string& option,
           const std::string& name) {
  const auto& [cluster, source] = fabric;
  const auto ranks = static_cast<std::size_t>(plan.num_ranks());
  const std::string device = plan.cluster.groups.front().device.name;
  std::vector<DeviceIndex> devices;
  for (const std::int64_t node : number_list(nodes, cluster.num_nodes(), option + ": nodes")) {
    const NodeGroup& group = cluster.groups[cluster.locate_node(node).group];
    if (group.device.name != device) {
      throw ConfigError(fmt::format("{}: expected nodes with {}, for which {} was planned, got {} on node {}", option,
                                    device, name, group.device.name, node));
    }
    for (std::int64_t i = 0; i < group.devices_per_node && devices.size() < ranks; ++i) {
      devices.emplace_back(cluster.first_device(node).value() + static_cast<std::int32_t>(i));
    }
  }
  if (devices.size() < ranks) {
    throw ConfigError(
        fmt::format("{}: expected nodes with {} devices for {}, got {}", option, ranks, name, devices.size()));
  }
  const RankDevices place(plan.strategy, plan.num_ranks());
  plan.device_of_rank.clear();
  for (std::int32_t rank = 0; rank < std::ssize(devices); ++rank) {
    plan.device_of_rank.push_back(devices[place.of(RankId(rank)).index()]);
  }
  plan.cluster = cluster;
  plan.cluster_source = source;
}

/// Names both jobs if a device is in two of them.
void require_disjoint(const Plan& plan, const std::vector<sim::OtherPlan>& others) {
  std::map<DeviceIndex, std::string> job_of;
  const auto add = [&](const Plan& job, const std::string& name) {
    for (std::int32_t rank = 0; rank < job.num_ranks(); ++rank) {
      const DeviceIndex device = job.device_of(RankId(rank));
      const auto [known, is_new] = job_of.try_emplace(device, name);
      if (is_new) continue;
      throw ConfigError(fmt::format("{} and {} are both on node {}: expected jobs on devices of their own",
                                    known->second, name, job.cluster.locate(device).node),
                        "--on NODES and --beside PLAN@NODES, with nodes such as 0-7");
    }
  };
  add(plan, "the plan");
  for (const sim::OtherPlan& other : others) add(other.plan, other.name);
}

}  // namespace

void add_fabric_options(CLI::App& command, FabricOptions& options) {
  command.add_option("--fabric", options.fabric, "cluster/1, or its name, on which the jobs run (default: the plan's)");
  command.add_option("--on", options.on, "its nodes that the plan runs on, such as 0-7,12 (default: as planned)");
  command
      .add_option("--beside", options.beside,
                  "another job, a plan and its nodes, which repeats its step meanwhile; may be repeated")
      ->allow_extra_args(false)
      ->option_text("PLAN@NODES");
}

std::vector<sim::OtherPlan> place_jobs(const FabricOptions& options, const InputOptions& inputs, Plan& plan) {
  std::vector<sim::OtherPlan> others;
  Fabric fabric(plan.cluster, plan.cluster_source);
  if (!options.fabric.empty()) {
    Loaded<Cluster> loaded = load_cluster(inputs, options.fabric);
    fabric = {std::move(loaded.value), std::move(loaded.source)};
  }
  if (!options.on.empty()) {
    place(plan, fabric, options.on, "--on", "the plan");
  } else if (!options.fabric.empty()) {
    throw ConfigError("--fabric: expected to be told on which of its nodes the plan runs", "--on 0-7");
  }
  for (const std::string& text : options.beside) {
    const std::size_t at = text.rfind('@');
    if (at == std::string::npos || at == 0) {
      throw ConfigError(fmt::format("--beside: expected PLAN@NODES, got \"{}\"", text), "--beside other.json@8-15");
    }
    sim::OtherPlan other{.name = text.substr(0, at), .plan = read_plan(text.substr(0, at)), .calibration = {}};
    other.calibration = load_calibration(inputs, "", other.plan).path;
    place(other.plan, fabric, std::string_view(text).substr(at + 1), "--beside", other.name);
    others.push_back(std::move(other));
  }
  if (!others.empty()) require_disjoint(plan, others);
  return others;
}

}  // namespace orrery::cli
