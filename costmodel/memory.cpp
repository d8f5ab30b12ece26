// SPDX-License-Identifier: Apache-2.0
#include "costmodel/memory.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/units_format.h"
#include "costmodel/activation_memory.h"
#include "program/flat_buffer.h"
#include "program/memory_replay.h"

#include <algorithm>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

constexpr double kIdBytes = 8.0;       // token and label ids are i64
constexpr double kSoftmaxBytes = 4.0;  // saved from the loss to its backward, at most
constexpr double kBufferBytes = 4.0;   // router biases are f32

double elements(std::int64_t count, DType type) { return static_cast<double>(count * size_of(type)); }

/// Weights, gradients and optimizer states. Gradients stay whole under ZeRO-1; weights are padded as they are gathered
/// into. Dense parameters are sharded over dp, expert parameters over edp.
void add_states(const Model& model, const Strategy& strategy, const Mesh& mesh, const StageLayout& stage,
                MemoryByCause& memory) {
  for (const FlatBufferKind kind : {FlatBufferKind::dense, FlatBufferKind::expert}) {
    const FlatBuffer buffer = flat_buffer(model, stage, strategy, mesh, kind);
    const int zero = kind == FlatBufferKind::dense ? strategy.zero_dense : strategy.zero_expert;
    const std::int64_t owned = zero >= 1 ? buffer.shard() : buffer.padded;
    memory.weights += bytes(elements(buffer.padded, strategy.precision));
    memory.gradients += bytes(elements(buffer.padded, strategy.grad_dtype));
    const double master = has_master(strategy) ? elements(owned, strategy.master_dtype) : 0.0;
    memory.optimizer += bytes(master + 2.0 * elements(owned, strategy.moment_dtype));
  }
  for (std::int64_t i = 0; i < stage.num_layers; ++i) {
    const bool has_bias = model.kind(stage.first_layer + i) == LayerKind::moe && model.moe->aux_free_bias;
    if (has_bias) memory.weights += bytes(kBufferBytes * static_cast<double>(model.moe->num_experts));
  }
}

/// Activations of one stage. Backward runs from the last layer to the first and frees them on its way, so each layer
/// is a candidate for the fullest moment; the head, which comes first, is another.
void add_activations(const Model& model, const Strategy& strategy, const BatchShape& batch, const StageLayout& stage,
                     std::int64_t in_flight, const MemoryModel& parameters, MemoryByCause& memory) {
  const double tokens = static_cast<double>(batch.seq * strategy.micro_batch);
  const double row = elements(model.hidden, strategy.precision);
  const double vocab = static_cast<double>(model.vocab);
  const Framework& framework = parameters.framework;
  const double softmax = std::min(kSoftmaxBytes, framework.logits_bytes);
  const double wgrad_of_head = framework.head_wgrad_is_buffer ? row * vocab : 0.0;

  double saved = stage.embedding ? kIdBytes : 0.0;
  double fullest_moment = 0.0;  // of the micro-batch whose backward runs
  for (std::int64_t i = 0; i < stage.num_layers; ++i) {
    const bool recomputes = i < stage.num_recompute_layers.value_or(stage.num_layers);
    const LayerKind kind = model.kind(stage.first_layer + i);
    const LayerActivations layer = layer_activations(
        model, strategy, kind, recomputes ? stage.recompute : std::set<RecomputeModule>{}, parameters.rho);
    const bool is_whole = recomputes && stage.recompute.contains(RecomputeModule::full);
    saved += layer.saved + (is_whole ? 0.0 : saved_beside(framework, model, strategy, kind, layer.saved));
    fullest_moment = std::max(fullest_moment, saved + layer.backward_peak());
  }
  if (stage.head) {
    saved += 2.0 * row + kIdBytes + softmax * vocab;  // input, its norm, labels, softmax
    const double in_loss = (framework.logits_bytes - softmax) * vocab;
    const double in_backward = wgrad_of_head > 0.0 ? row + wgrad_of_head / tokens : 0.0;
    fullest_moment = std::max(fullest_moment, saved + std::max(in_loss, in_backward));
  }
  const double others = static_cast<double>(in_flight - 1) * saved;
  memory.activations = bytes(tokens * (others + saved));
  memory.transients = bytes(tokens * std::max(0.0, fullest_moment - saved));
  const double num_neighbours = (stage.embedding ? 0.0 : 1.0) + (stage.head ? 0.0 : 1.0);
  memory.communication = bytes(tokens * row * num_neighbours);
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

std::int64_t micro_batches_in_flight(Schedule schedule, const PipelineShape& shape, std::int64_t rank) {
  if (schedule == Schedule::gpipe) return shape.num_micro_batches;
  CHECK(schedule == Schedule::one_f_one_b, name_of(schedule));
  return std::min(shape.num_micro_batches, shape.num_ranks - rank);
}

std::vector<MemoryByCause> memory_per_stage(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                            const Mesh& mesh, const MemoryModel& parameters) {
  const PipelineShape shape{.num_ranks = strategy.pp,
                            .chunks_per_rank = 1,
                            .num_micro_batches = batch.global_batch / (mesh.dp() * strategy.micro_batch)};
  std::vector<MemoryByCause> stages(static_cast<std::size_t>(strategy.pp));
  for (std::size_t r = 0; r < stages.size(); ++r) {
    const StageLayout& stage = strategy.stages[r];
    MemoryByCause& memory = stages[r];
    add_states(model, strategy, mesh, stage, memory);
    add_activations(model, strategy, batch, stage,
                    micro_batches_in_flight(strategy.schedule, shape, static_cast<std::int64_t>(r)), parameters,
                    memory);
    memory.buffers =
        buffers_of(parameters.framework, model, strategy, batch.seq * strategy.micro_batch / strategy.cp, mesh, stage);
    memory.fragmentation = memory.allocated() * parameters.fragmentation;
    memory.reserve = parameters.reserve;
  }
  return stages;
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
  return fmt::format("stage {} needs {}, device has {}", largest - stages.begin(), largest->total(), *device.memory);
}

Bytes peak_memory(const StepProgram& program) { return peak_memory(program, BalancedLoad{}); }

Bytes peak_memory(const StepProgram& program, const LoadModel& load) {
  Bytes peak;
  for (std::size_t r = 0; r < program.classes.size(); ++r) {
    MemoryByCause memory;
    if (r < program.strategy.stages.size()) {
      add_states(program.model, program.strategy, program.mesh, program.strategy.stages[r], memory);
    }
    const std::vector<RankId> ranks = distinct_ranks(program, ClassId(static_cast<std::int32_t>(r)), load);
    const std::vector<Bytes> activations = replay_peaks(program.classes[r], arrivals_of(program, ranks, load));
    peak = std::max(peak, memory.states() + *std::max_element(activations.begin(), activations.end()));
  }
  return peak;
}

}  // namespace orrery::costmodel
