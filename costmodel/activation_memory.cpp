// SPDX-License-Identifier: Apache-2.0
#include "costmodel/activation_memory.h"

#include "base/check.h"
#include "costmodel/pipeline_moments.h"
#include "costmodel/stage_lives.h"

#include <algorithm>
#include <numeric>

namespace orrery::costmodel {
namespace {

/// A slot: alone, or a forward beside a backward, for which both messages are there at once and leave at the end.
LifeSegment segment_of(const PipelineMoment& moment, const std::vector<const StageLives*>& stages) {
  const SlotLives& slot = stages[static_cast<std::size_t>(moment.chunk)]->of(moment.kind);
  if (moment.beside < 0) return slot.total;
  const SlotLives& backward = stages[static_cast<std::size_t>(moment.beside)]->backward;
  const LiveBytes arriving = slot.receive + backward.receive;
  return joined({.peak = arriving, .net = arriving}, zipped(slot.work, backward.work));
}

/// A receive is posted before its slot begins, so that at most one message of a kind waits in memory.
double early_messages(const Strategy& strategy, std::int64_t rank, const std::vector<const StageLives*>& stages) {
  double of_queue[2][4] = {};  // activations and gradients, by where they come from
  for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
    const StageNeighbours neighbours = neighbours_of(strategy, rank, chunk);
    const auto arrives = [](double& message, const LiveBytes& received) { message = std::max(message, received.all); };
    arrives(of_queue[0][static_cast<std::size_t>(neighbours.before)], stages[chunk]->forward.receive);
    arrives(of_queue[1][static_cast<std::size_t>(neighbours.behind)], stages[chunk]->backward.receive);
  }
  double sum = 0.0;
  for (const auto& messages : of_queue) {
    for (const double message : messages) sum += message;
  }
  return sum;
}

LiveBytes held_by(const PipelineMoment& moment, const std::vector<const StageLives*>& stages) {
  LiveBytes out;
  for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
    const HeldByStage& held = moment.held[chunk];
    const StageLives& stage = *stages[chunk];
    out += static_cast<double>(held.activations) * stage.activations;
    out += static_cast<double>(held.weight_grads) * stage.weight_grads;
    out += static_cast<double>(held.outputs) * stage.outputs;
    out += static_cast<double>(held.gradients) * stage.gradients;
  }
  return out;
}

}  // namespace

std::vector<ActivationPeak> activation_peaks(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                             const Mesh& mesh, const MemoryModel& parameters) {
  const std::int64_t num_micro_batches = batch.global_batch / (mesh.dp() * strategy.micro_batch);
  const TableSizes sizes(model, strategy, batch, parameters);
  StageLivesMaker maker(sizes, mesh);
  std::vector<ActivationPeak> out;
  for (std::int64_t rank = 0; rank < strategy.pp; ++rank) {
    const std::vector<PipelineMoment>& moments = pipeline_moments(strategy, num_micro_batches, rank);
    BackwardKinds kinds;
    for (const PipelineMoment& moment : moments) {
      kinds.whole = kinds.whole || moment.kind == Slot::Kind::backward || moment.beside >= 0;
      kinds.split = kinds.split || moment.kind == Slot::Kind::input_grad;
    }
    const std::vector<std::int64_t> held = stages_of(strategy, rank);
    std::vector<const StageLives*> stages;
    for (std::size_t chunk = 0; chunk < held.size(); ++chunk) {
      stages.push_back(&maker.stage(held[chunk], neighbours_of(strategy, rank, chunk), kinds));
    }
    ActivationPeak& peak = out.emplace_back();
    LiveBytes fullest;
    for (const PipelineMoment& moment : moments) {
      const LiveBytes then = held_by(moment, stages) + segment_of(moment, stages).peak;
      if (peak.moment == nullptr || then.all > fullest.all) {
        fullest = then;
        peak.moment = &moment;
      }
      std::int64_t layers = 0;
      for (std::size_t chunk = 0; chunk < held.size(); ++chunk) {
        layers += moment.held[chunk].activations * strategy.stages[static_cast<std::size_t>(held[chunk])].num_layers;
      }
      peak.layers_in_flight = std::max(peak.layers_in_flight, layers);
    }
    peak.saved = fullest.saved;
    peak.transients = fullest.all - fullest.saved;
    peak.early_messages = early_messages(strategy, rank, stages);
  }
  return out;
}

LayerActivations layer_activations(const TableSizes& sizes, LayerKind kind,
                                   const std::set<RecomputeModule>& recompute) {
  // On one group of each kind, so that nothing is sharded.
  const Strategy& s = sizes.strategy;
  StageLivesMaker maker(sizes, Mesh(s, std::lcm(s.tp * s.cp, s.etp * s.ep) * s.pp));
  const TensorLives::Parts& parts = maker.layer(kind, recompute, false);
  LayerActivations out;
  out.forward = whole(parts[0].front().work);
  out.backward = whole(parts[1].front().work);
  out.saved = out.forward.net.saved;
  return out;
}

}  // namespace orrery::costmodel
