// SPDX-License-Identifier: Apache-2.0
#include "costmodel/activation_memory.h"

#include "base/check.h"
#include "costmodel/pipeline_moments.h"
#include "costmodel/stage_lives.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

namespace orrery::costmodel {
namespace {

/// What slots take: alone, or a forward beside a backward, for which both messages are there at once and leave at the
/// end. A rank has few different pairs, in many moments.
class Segments {
 public:
  explicit Segments(const std::vector<const StageLives*>& stages) : stages_(stages) {}

  LifeSegment of(const PipelineMoment& moment) {
    const SlotLives& slot = stages_[static_cast<std::size_t>(moment.chunk)]->of(moment.kind);
    if (moment.beside < 0) return slot.total;
    const SlotLives& backward = stages_[static_cast<std::size_t>(moment.beside)]->backward;
    for (const Pair& pair : pairs_) {
      if (pair.slot == &slot && pair.backward == &backward) return pair.both;
    }
    const LiveBytes arriving = slot.receive + backward.receive;
    const LifeSegment both = joined({.peak = arriving, .net = arriving}, zipped(slot.work, backward.work));
    pairs_.push_back({&slot, &backward, both});
    return both;
  }

 private:
  struct Pair {
    const SlotLives *slot, *backward;
    LifeSegment both;
  };
  const std::vector<const StageLives*>& stages_;
  std::vector<Pair> pairs_;
};

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

/// Pieces of stages, with all that they refer to.
struct ActivationPeaks::Pieces {
  Pieces(const Model& model, const Strategy& the_strategy, const BatchShape& batch, const MemoryModel& the_parameters)
      : strategy(the_strategy), parameters(the_parameters), sizes(model, strategy, batch, parameters), lives(sizes) {}

  const Strategy strategy;
  const MemoryModel parameters;
  TableSizes sizes;
  PieceLives lives;
};

struct ActivationPeaks::Tables {
  /// `shared`: pieces that others have made; none: its own, of this strategy.
  Tables(const Model& model, const Strategy& the_strategy, const BatchShape& the_batch, const Mesh& mesh,
         const MemoryModel& the_parameters, const std::shared_ptr<Pieces>& shared)
      : strategy(the_strategy),
        batch(the_batch),
        parameters(the_parameters),
        sizes(model, strategy, batch, parameters),
        pieces(shared ? shared : std::make_shared<Pieces>(model, strategy, batch, parameters)),
        maker(sizes, mesh, {pieces, &pieces->lives}) {}

  const Strategy strategy;
  const BatchShape batch;
  const MemoryModel parameters;
  TableSizes sizes;
  const std::shared_ptr<Pieces> pieces;
  StageLivesMaker maker;
};

ActivationPeaks::ActivationPeaks(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                 const Mesh& mesh, const MemoryModel& parameters)
    : tables_(std::make_unique<Tables>(model, strategy, batch, mesh, parameters, nullptr)) {}

ActivationPeaks::ActivationPeaks(const ActivationPeaks& alike, const Strategy& strategy, const Mesh& mesh)
    : tables_(std::make_unique<Tables>(alike.tables_->sizes.model, strategy, alike.tables_->batch, mesh,
                                       alike.tables_->parameters, alike.tables_->pieces)) {}

ActivationPeaks::~ActivationPeaks() = default;

ActivationPeak ActivationPeaks::of_rank(const Strategy& strategy, std::int64_t num_micro_batches, std::int64_t rank,
                                        const std::vector<StageLayout>& layouts) {
  const std::vector<PipelineMoment>& moments = pipeline_moments(strategy, num_micro_batches, rank);
  BackwardKinds kinds;
  for (const PipelineMoment& moment : moments) {
    kinds.whole = kinds.whole || moment.kind == Slot::Kind::backward || moment.beside >= 0;
    kinds.split = kinds.split || moment.kind == Slot::Kind::input_grad;
  }
  std::vector<const StageLives*> stages;
  for (std::size_t chunk = 0; chunk < layouts.size(); ++chunk) {
    stages.push_back(&tables_->maker.stage(layouts[chunk], neighbours_of(strategy, rank, chunk), kinds));
  }
  ActivationPeak peak;
  LiveBytes fullest;
  Segments segments(stages);
  for (const PipelineMoment& moment : moments) {
    const LiveBytes then = held_by(moment, stages) + segments.of(moment).peak;
    if (peak.moment == nullptr || then.all > fullest.all) {
      fullest = then;
      peak.moment = &moment;
    }
    std::int64_t layers = 0;
    for (std::size_t chunk = 0; chunk < layouts.size(); ++chunk) {
      layers += moment.held[chunk].activations * layouts[chunk].num_layers;
    }
    peak.layers_in_flight = std::max(peak.layers_in_flight, layers);
  }
  peak.saved = fullest.saved;
  peak.transients = fullest.all - fullest.saved;
  peak.early_messages = early_messages(strategy, rank, stages);
  return peak;
}

std::vector<OffloadedLayers> ActivationPeaks::offloaded(const StageLayout& stage) {
  const Model& model = tables_->sizes.model;
  std::map<std::pair<LayerKind, bool>, std::int64_t> layers;
  for (std::int64_t i = 0; i < stage.num_layers; ++i) {
    ++layers[{model.kind(stage.first_layer + i), i < stage.num_recompute_layers.value_or(stage.num_layers)}];
  }
  for (std::int64_t i = 0; i < stage.num_mtp; ++i) {
    ++layers[{model.kind(model.num_layers() + i), !stage.num_recompute_layers}];
  }
  std::vector<OffloadedLayers> out;
  for (const auto& [of, count] : layers) {
    const auto& parts =
        tables_->maker.layer(of.first, of.second ? stage.recompute : std::set<RecomputeModule>{}, false);
    out.push_back({.count = count, .bytes = parts[0].front().offloaded.all});
  }
  return out;
}

std::vector<ActivationPeak> activation_peaks(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                             const Mesh& mesh, const MemoryModel& parameters) {
  const std::int64_t num_micro_batches = batch.global_batch / (mesh.dp() * strategy.micro_batch);
  ActivationPeaks peaks(model, strategy, batch, mesh, parameters);
  std::vector<ActivationPeak> out;
  for (std::int64_t rank = 0; rank < strategy.pp; ++rank) {
    out.push_back(peaks.of_rank(strategy, num_micro_batches, rank, stages_on_rank(strategy, rank)));
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
