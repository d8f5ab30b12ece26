// SPDX-License-Identifier: Apache-2.0
#include "sim/memory_need.h"

#include "base/errors.h"
#include "base/units_format.h"
#include "costmodel/op_timer.h"
#include "costmodel/simulated_ranks.h"
#include "sim/routes.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <variant>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

// Measured, rounded up (docs/design/simgrid.md, "Memory").
constexpr double kBytesPerOp = 40.0, kBytesPerSpan = 220.0, kBytesPerPair = 70.0, kBytesPerRoute = 4000.0;

/// Pairs of one member at L3: everybody in an exchange, in a ring the next one within its domain and on the network.
double num_pairs_of(const OpShape& shape, const Mesh& mesh) {
  const auto* collective = std::get_if<CollectiveShape>(&shape);
  const bool all = collective != nullptr ? collective->kind == CollectiveKind::all_to_all
                                         : std::holds_alternative<ExchangeShape>(shape);
  return all ? static_cast<double>(mesh.size(costmodel::group_of(shape))) : 2.0;
}

/// At most as many as there are pairs of members, and of what they send from: nodes at L2, devices at L3, NICs where
/// each pair of them has a draw of its own.
double num_routes(const StepProgram& program, const Cluster& cluster, std::size_t num_ranks,
                  const Fidelities& fidelities, bool balanced, bool hashed) {
  if (!have_routes(cluster, hashed)) return 0.0;
  std::map<Group, double> peers;  // of a member
  bool of_devices = false;
  for (const RankClass& rank_class : program.classes) {
    for (const Op& op : rank_class.ops) {
      const Fidelity fidelity = is_communication(op.key.op) ? fidelities.of(op.key.op) : Fidelity::l0;
      if (fidelity < Fidelity::l2) continue;
      of_devices = of_devices || fidelity == Fidelity::l3 || !balanced;  // at L2 the busiest device of a node
      double& most = peers[costmodel::group_of(program.shapes[op.shape])];
      most = std::max(most, is_pipeline(op.queue) ? 1.0 : num_pairs_of(program.shapes[op.shape], program.mesh));
    }
  }
  double num_pairs = 0.0, ends = 0.0;
  for (const auto& [group, number] : peers) num_pairs += number * static_cast<double>(num_ranks);
  for (const NodeGroup& group : cluster.groups) {
    const std::int64_t nics = group.nics ? group.nics->per_node : 1;
    ends += static_cast<double>(group.num_nodes * (hashed ? nics : of_devices ? group.devices_per_node : 1));
  }
  const auto cables = static_cast<double>(cluster.fabric.num_global_links);
  const double ways = hashed ? 1.0 : std::max(cables, 2.0);  // a torus goes either way at most
  return ways * std::min(num_pairs, ends * ends);
}

const Bytes kUnlimited = bytes(std::numeric_limits<double>::infinity());

/// Of a file with a name and a number on each line.
std::optional<double> value_of(const std::filesystem::path& path, const std::string& wanted) {
  std::ifstream in(path);
  std::string name, rest;
  double value = 0.0;
  while (in >> name >> value) {
    std::getline(in, rest);
    if (name == wanted) return value;
  }
  return {};
}

/// The number that a file consists of; nothing if there is none, as where it says "max".
std::optional<double> number_in(const std::filesystem::path& path) {
  std::ifstream in(path);
  double value = 0.0;
  if (in >> value) return value;
  return {};
}

/// Of one group of version 2 or 1 of cgroups.
Bytes left_in(const std::filesystem::path& group) {
  Bytes left = kUnlimited;
  for (const auto& [most, used, cached] :
       {std::tuple("memory.max", "memory.current", "inactive_file"),
        std::tuple("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")}) {
    const auto limit = number_in(group / most), usage = number_in(group / used);
    if (!limit || !usage) continue;
    const double free = *limit - *usage + value_of(group / "memory.stat", cached).value_or(0.0);
    left = std::min(left, bytes(std::max(free, 0.0)));
  }
  return left;
}

/// A group has no more than those that it is in.
Bytes left_in_cgroups(const MemoryFiles& files) {
  Bytes left = kUnlimited;
  std::ifstream in(files.own_cgroup);
  for (std::string line; std::getline(in, line);) {  // "0::/a/b", or of version 1 "9:memory:/a/b"
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (!controllers.empty() && controllers != "memory") continue;
    const std::filesystem::path root = files.cgroups / controllers;
    std::filesystem::path inside = std::filesystem::path(line.substr(second + 1)).relative_path();
    for (; !inside.empty(); inside = inside.parent_path()) left = std::min(left, left_in(root / inside));
    left = std::min(left, left_in(root));
  }
  return left;
}

}  // namespace

Bytes memory_needed(const StepProgram& program, const Cluster& cluster, std::span<const DeviceIndex> device_of_rank,
                    const RunInput& input, const Fidelities& fidelities, bool hashed) {
  double num_ops = 0.0, num_pairs = 0.0;
  std::set<ShapeId> in_pairs;
  for (const RankClass& rank_class : program.classes) {
    for (const Op& op : rank_class.ops) {
      if (is_pipeline(op.queue) || !is_communication(op.key.op) || fidelities.of(op.key.op) != Fidelity::l3) continue;
      in_pairs.insert(op.shape);
    }
  }
  const costmodel::SimulatedRanks simulated(program, cluster, device_of_rank, input);
  for (const costmodel::SimulatedRank& rank : simulated.ranks()) {
    num_ops += static_cast<double>(program.classes[rank.view.program_class.index()].ops.size());
    for (const ShapeId shape : in_pairs) num_pairs += num_pairs_of(program.shapes[shape], program.mesh);
  }
  const double per_op = kBytesPerOp + (input.steps_only ? 0.0 : kBytesPerSpan);
  const double routes =
      num_routes(program, cluster, simulated.ranks().size(), fidelities, is_balanced(input.load), hashed);
  return bytes(num_ops * per_op + num_pairs * kBytesPerPair + routes * kBytesPerRoute);
}

Seconds exchange_time_needed(const StepProgram& program, const RunInput& input, const Fidelities& fidelities) {
  constexpr double kSecondsPerFlow = 3.7e-4;  // where only a part can be under way
  double seconds_needed = 0.0;
  if (is_balanced(input.load)) return {};
  for (std::int32_t r = 0; r < program.mesh.world(); ++r) {  // of which all are simulated
    for (const Op& op : program.class_of(RankId(r)).ops) {
      const OpShape& shape = program.shapes[op.shape];
      if (!std::holds_alternative<ExchangeShape>(shape) || fidelities.of(op.key.op) != Fidelity::l3) continue;
      const auto members = static_cast<double>(program.mesh.size(costmodel::group_of(shape)));
      const double all_at_once = 0.12 * std::pow(members * members / 4032.0, 3.3);
      seconds_needed += std::min(all_at_once, kSecondsPerFlow * members * members) / members;
    }
  }
  return seconds(seconds_needed);
}

Bytes memory_available(const MemoryFiles& files) {
  const auto available = value_of(files.meminfo, "MemAvailable:");
  return std::min(available ? *available * unit::kibibyte : kUnlimited, left_in_cgroups(files));
}

void require_memory(Bytes needed, Bytes available) {
  if (needed <= available) return;
  throw ConfigError(
      fmt::format("the simulation would need about {} of memory, and this machine has {} left", needed, available),
      "it is small while one rank stands for all that do the same: with a balanced load, without "
      "--all-ranks or --all-replicas; fewer micro-batches also help");
}

}  // namespace orrery::sim
