// SPDX-License-Identifier: Apache-2.0
#include "sim/memory_need.h"

#include "base/errors.h"
#include "base/units_format.h"
#include "costmodel/op_timer.h"
#include "costmodel/simulated_ranks.h"

#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <variant>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

// Measured, rounded up (docs/design/simgrid.md, "Memory").
constexpr double kBytesPerOp = 40.0, kBytesPerSpan = 220.0, kBytesPerPair = 70.0;

/// Pairs of one member at L3: everybody in an exchange, in a ring the next one within its domain and on the network.
double num_pairs_of(const OpShape& shape, const Mesh& mesh) {
  const auto* collective = std::get_if<CollectiveShape>(&shape);
  const bool all = collective != nullptr ? collective->kind == CollectiveKind::all_to_all
                                         : std::holds_alternative<ExchangeShape>(shape);
  return all ? static_cast<double>(mesh.size(costmodel::group_of(shape))) : 2.0;
}

}  // namespace

Bytes memory_needed(const StepProgram& program, const Cluster& cluster, std::span<const DeviceIndex> device_of_rank,
                    const RunInput& input, const Fidelities& fidelities) {
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
  return bytes(num_ops * per_op + num_pairs * kBytesPerPair);
}

Bytes memory_available(const std::filesystem::path& meminfo) {
  std::ifstream in(meminfo);
  std::string name, unit_of_value;
  double value = 0.0;
  while (in >> name >> value) {
    std::getline(in, unit_of_value);
    if (name == "MemAvailable:") return value * unit::kibibyte;
  }
  return bytes(std::numeric_limits<double>::infinity());
}

void require_memory(Bytes needed, Bytes available) {
  if (needed <= available) return;
  throw ConfigError(
      fmt::format("the simulation would need about {} of memory, and this machine has {} left", needed, available),
      "it is small while one rank stands for all that do the same: with a balanced load, without "
      "--all-ranks or --all-replicas; fewer micro-batches also help");
}

}  // namespace orrery::sim
