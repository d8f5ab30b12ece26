// SPDX-License-Identifier: Apache-2.0
#include "costmodel/memory.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/units_format.h"
#include "costmodel/activation_memory.h"
#include "costmodel/rank_states.h"
#include "program/arrivals.h"
#include "program/memory_replay.h"

#include <algorithm>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

/// Inputs and outputs of the captured graph of a layer, forward and backward, one for each micro-batch in flight: an
/// assumption, since what is captured differs by framework.
constexpr double kStreamsPerGraph = 2.0;

double stream_bytes(const Model& model, const Strategy& s, const BatchShape& batch) {
  const std::int64_t tokens = batch.seq / s.cp * s.micro_batch / (s.sp ? s.tp : 1);
  return static_cast<double>(tokens * model.hidden * size_of(compute_dtype(s)));
}

void add_states(const RankStates& states, MemoryByCause& memory) {
  memory.weights = states.weights;
  memory.gradients = states.gradients;
  memory.optimizer = states.optimizer;
}

}  // namespace

MemoryModel MemoryModel::of(const Device& device) {
  MemoryModel parameters;
  if (device.kind == DeviceKind::cpu) {
    parameters.fragmentation = 0.0;
    parameters.reserve = {};
  }
  return parameters;
}

MemoryModel MemoryModel::of(const Framework& framework) {
  return {.fragmentation = framework.fragmentation, .reserve = framework.reserve, .framework = framework};
}

MemoryModel MemoryModel::of(const Device& device, std::string_view framework) {
  return framework.empty() || device.kind == DeviceKind::cpu ? of(device) : of(framework_named(framework));
}

MemoryByCause memory_of_rank(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                             const MemoryModel& parameters, const std::vector<StageLayout>& stages,
                             const RankStates& states, const ActivationPeak& peak) {
  MemoryByCause memory;
  add_states(states, memory);
  memory.activations = bytes(peak.saved);
  memory.transients = bytes(peak.transients);
  // When the backward has ended, activations make room for what the end of the step needs.
  const Bytes at_end = std::max(states.loaded, states.wire_grads);
  if (at_end > memory.activations + memory.transients) {
    memory.activations = {};
    memory.transients = at_end;
  }
  memory.communication = bytes(peak.early_messages);
  if (parameters.framework != Framework{}) {
    const std::int64_t tokens = batch.seq / strategy.cp * strategy.micro_batch;
    memory.buffers = buffers_of(parameters.framework, model, strategy, tokens, mesh, stages);
  }
  if (strategy.cuda_graphs) {
    memory.graphs =
        bytes(kStreamsPerGraph * static_cast<double>(peak.layers_in_flight) * stream_bytes(model, strategy, batch));
  }
  memory.fragmentation = memory.allocated() * parameters.fragmentation;
  memory.reserve = parameters.reserve;
  return memory;
}

std::vector<MemoryByCause> memory_per_stage(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                            const Mesh& mesh, const MemoryModel& parameters) {
  const std::vector<ActivationPeak> peaks = activation_peaks(model, strategy, batch, mesh, parameters);
  ElementCounts counts(model, strategy);
  std::vector<MemoryByCause> ranks;
  for (std::size_t r = 0; r < peaks.size(); ++r) {
    const std::vector<StageLayout> stages = stages_on_rank(strategy, static_cast<std::int64_t>(r));
    const RankStates states = rank_states(model, strategy, mesh, parameters.framework, stages, counts);
    ranks.push_back(memory_of_rank(model, strategy, batch, mesh, parameters, stages, states, peaks[r]));
  }
  return ranks;
}

Bytes fullest(const std::vector<MemoryByCause>& stages) {
  CHECK(!stages.empty());
  Bytes largest;
  for (const MemoryByCause& stage : stages) largest = std::max(largest, stage.total());
  return largest;
}

std::optional<std::string> why_it_does_not_fit(const std::vector<MemoryByCause>& stages, const Device& device) {
  if (!device.memory) {
    throw ConfigError(
        fmt::format("device \"{}\": memory is unknown (null): expected a size, to say what fits", device.name));
  }
  const auto largest = std::max_element(stages.begin(), stages.end(),
                                        [](const auto& a, const auto& b) { return a.total() < b.total(); });
  CHECK(largest != stages.end());
  if (largest->total() <= *device.memory) return std::nullopt;
  return fmt::format("pipeline rank {} needs {}, device has {}", largest - stages.begin(), largest->total(),
                     *device.memory);
}

Bytes peak_memory(const StepProgram& program) { return peak_memory(program, BalancedLoad{}); }

Bytes peak_memory(const StepProgram& program, const LoadModel& load) {
  Bytes peak;
  ElementCounts counts(program.model, program.strategy);
  for (std::size_t r = 0; r < program.classes.size(); ++r) {
    MemoryByCause memory;
    add_states(states_of_class(program, r, counts), memory);
    const std::vector<RankId> ranks = distinct_ranks(program, ClassId(static_cast<std::int32_t>(r)), load);
    const std::vector<Bytes> activations = replay_peaks(program.classes[r], arrivals_of(program, ranks, load));
    peak = std::max(peak, memory.states() + *std::max_element(activations.begin(), activations.end()));
  }
  return peak;
}

}  // namespace orrery::costmodel
