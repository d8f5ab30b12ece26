// SPDX-License-Identifier: Apache-2.0
#include "costmodel/memory_table.h"

#include "base/check.h"
#include "costmodel/activation_memory.h"
#include "costmodel/pipeline_moments.h"
#include "costmodel/rank_states.h"
#include "costmodel/stage_lives.h"

#include <utility>

namespace orrery::costmodel {
namespace {

using Kind = StagePart::Kind;

/// The parts of one pipeline rank after the other.
class PartsMaker {
 public:
  PartsMaker(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
             const MemoryModel& parameters)
      : model_(model),
        strategy_(strategy),
        mesh_(mesh),
        framework_(parameters.framework),
        ends_(ends_alone(strategy)),
        counts_(model, strategy),
        sizes_(model, strategy, batch, parameters),
        ends_sizes_(model, ends_, batch, parameters),
        lives_(sizes_, mesh),
        ends_lives_(ends_sizes_, mesh) {}

  std::vector<StagePart> parts_of(std::int64_t rank, BackwardKinds kinds) {
    kinds_ = kinds;
    const std::vector<StageLayout> stages = stages_on_rank(strategy_, rank);
    const std::vector<std::int64_t> indices = stages_of(strategy_, rank);
    has_embedding_ = false;
    for (const StageLayout& stage : stages) has_embedding_ = has_embedding_ || stage.embedding;
    parts_.clear();
    for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
      add_stage(stages[chunk], indices[chunk], neighbours_of(strategy_, rank, chunk));
    }
    return std::move(parts_);
  }

 private:
  static constexpr std::int64_t kEmbedding = 0, kHead = 1;  // stages of ends_

  /// A first stage that has the embedding alone and a last one that has the head alone, without modules.
  static Strategy ends_alone(Strategy strategy) {
    strategy.mtp = Mtp::off;
    strategy.stages = {{.embedding = true}, {.head = true}};
    return strategy;
  }

  Bytes states_of(const StageLayout& stage) {
    const RankStates states = rank_states(model_, strategy_, mesh_, framework_, {stage}, counts_);
    return states.weights + states.gradients + states.optimizer;
  }

  StagePart& add(std::int64_t stage, Kind kind, Bytes saved) {
    parts_.push_back({.stage = stage, .kind = kind, .saved = saved});
    return parts_.back();
  }

  /// What `stage` has beyond `before`.
  void set_difference(StagePart& part, const StageLayout& stage, const StageLayout& before) {
    const RankElements with = counts_.rank({stage}), without = counts_.rank({before});
    part.dense_parameters = with.dense - without.dense;
    part.expert_parameters = with.expert - without.expert;
    part.states = states_of(stage) - states_of(before);
  }

  Bytes saved_by_end(std::int64_t stage) {
    const StageNeighbours neighbours = stage == kEmbedding ? StageNeighbours{.behind = Neighbour::next_rank}
                                                           : StageNeighbours{.before = Neighbour::previous_rank};
    const StageLayout& layout = ends_.stages[static_cast<std::size_t>(stage)];
    return bytes(ends_lives_.stage(layout, neighbours, kinds_).activations.saved);
  }

  Bytes saved_by_layer(LayerKind kind, const std::set<RecomputeModule>& recompute) {
    const UnitLives& forward = lives_.layer(kind, recompute, !kinds_.whole)[0].front();
    const double offloaded = strategy_.offload_activations ? forward.offloaded.saved : 0.0;
    return bytes(whole(forward.work).net.saved - offloaded);
  }

  Bytes add_layers(const StageLayout& stage, std::int64_t index) {
    Bytes saved;
    for (std::int64_t i = 0; i < stage.num_layers; ++i) {
      const bool recomputes = i < stage.num_recompute_layers.value_or(stage.num_layers);
      const std::set<RecomputeModule> recompute = recomputes ? stage.recompute : std::set<RecomputeModule>{};
      const LayerKind layer_kind = model_.kind(stage.first_layer + i);
      const Kind kind = layer_kind == LayerKind::moe ? Kind::moe : Kind::dense;
      const bool goes_on = i > 0 && parts_.back().kind == kind && parts_.back().recompute == recompute;
      if (!goes_on) {
        StagePart& part = add(index, kind, {});
        part.count = 0;
        part.recompute = recompute;
      }
      StagePart& part = parts_.back();
      const RankElements& elements = counts_.layer(stage.first_layer + i);
      const Bytes of_one = saved_by_layer(layer_kind, recompute);
      ++part.count;
      part.dense_parameters += elements.dense;
      part.expert_parameters += elements.expert;
      part.states += states_of({.first_layer = stage.first_layer + i, .num_layers = 1});
      part.saved += of_one;
      saved += of_one;
    }
    return saved;
  }

  void add_stage(const StageLayout& stage, std::int64_t index, const StageNeighbours& neighbours) {
    Bytes rest = bytes(lives_.stage(stage, neighbours, kinds_).activations.saved);
    // An embedding on the rank makes copies of it needless, for modules and a tied head.
    StageLayout known{.first_layer = model_.num_layers(), .embedding = has_embedding_};
    if (stage.embedding) {
      StagePart& part = add(index, Kind::embedding, saved_by_end(kEmbedding));
      set_difference(part, known, {});
      rest -= part.saved;
    }
    rest -= add_layers(stage, index);
    const Bytes head = stage.head ? saved_by_end(kHead) : Bytes();
    if (stage.num_mtp > 0) {
      StageLayout with = known;
      with.num_mtp = stage.num_mtp;
      StagePart& part = add(index, Kind::mtp, rest - head);
      part.count = stage.num_mtp;
      if (!stage.num_recompute_layers) part.recompute = stage.recompute;
      set_difference(part, with, known);
      rest = head;
      known = with;
    }
    if (!stage.head) return;
    StageLayout with = known;
    with.head = true;
    // With modules on another stage the head works for them too, and its part is all that is left.
    set_difference(add(index, Kind::head, rest), with, known);
  }

  const Model& model_;
  const Strategy& strategy_;
  const Mesh& mesh_;
  const Framework& framework_;
  const Strategy ends_;
  ElementCounts counts_;
  TableSizes sizes_, ends_sizes_;
  StageLivesMaker lives_, ends_lives_;
  BackwardKinds kinds_;
  bool has_embedding_ = false;
  std::vector<StagePart> parts_;
};

BackwardKinds kinds_of(const std::vector<PipelineMoment>& moments) {
  BackwardKinds kinds;
  for (const PipelineMoment& moment : moments) {
    kinds.whole = kinds.whole || moment.kind == Slot::Kind::backward || moment.beside >= 0;
    kinds.split = kinds.split || moment.kind == Slot::Kind::input_grad;
  }
  return kinds;
}

}  // namespace

std::vector<RankTable> rank_tables(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                   const Mesh& mesh, const MemoryModel& parameters) {
  const std::int64_t num_micro_batches = batch.global_batch / (mesh.dp() * strategy.micro_batch);
  const std::vector<ActivationPeak> peaks = activation_peaks(model, strategy, batch, mesh, parameters);
  PartsMaker maker(model, strategy, batch, mesh, parameters);
  std::vector<RankTable> tables;
  for (std::int64_t rank = 0; rank < strategy.pp; ++rank) {
    const PipelineMoment* moment = peaks[static_cast<std::size_t>(rank)].moment;
    CHECK(moment != nullptr, rank);
    const std::vector<std::int64_t> stages = stages_of(strategy, rank);
    RankTable& table = tables.emplace_back();
    table.parts = maker.parts_of(rank, kinds_of(pipeline_moments(strategy, num_micro_batches, rank)));
    table.slot = moment->kind;
    table.stage = stages[static_cast<std::size_t>(moment->chunk)];
    for (StagePart& part : table.parts) {
      for (std::size_t chunk = 0; chunk < stages.size(); ++chunk) {
        if (stages[chunk] != part.stage) continue;
        const bool begins = moment->kind == Slot::Kind::forward && static_cast<std::size_t>(moment->chunk) == chunk;
        part.in_flight = moment->held[chunk].activations + (begins ? 1 : 0);
      }
    }
  }
  return tables;
}

std::string_view name_of(StagePart::Kind kind) {
  switch (kind) {
    case Kind::embedding:
      return "embedding";
    case Kind::dense:
      return "dense";
    case Kind::moe:
      return "moe";
    case Kind::mtp:
      return "mtp";
    case Kind::head:
      return "head";
  }
  return "?";
}

}  // namespace orrery::costmodel
