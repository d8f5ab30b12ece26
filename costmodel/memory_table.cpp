// SPDX-License-Identifier: Apache-2.0
#include "costmodel/memory_table.h"

#include "base/check.h"
#include "program/flat_buffer.h"

#include <utility>

namespace orrery::costmodel {
namespace {

struct Sizes {
  std::int64_t dense = 0, expert = 0;
  Bytes states, saved;

  Sizes operator-(const Sizes& other) const {
    return {dense - other.dense, expert - other.expert, states - other.states, saved - other.saved};
  }
  bool operator==(const Sizes&) const = default;
};

/// Asks the formulas for a stage on ranks that hold nothing else, with one micro-batch in flight.
class Scales {
 public:
  Scales(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
         const MemoryModel& parameters)
      : model_(model), alone_(alone(strategy)), mesh_(alone_, ranks(strategy, mesh)), parameters_(parameters) {
    batch_ = {.seq = batch.seq, .global_batch = mesh_.dp() * strategy.micro_batch};
    parameters_.fragmentation = 0.0;
    parameters_.reserve = {};
  }

  Sizes weigh(StageLayout stage) {
    stage.num_recompute_layers.reset();
    alone_.stages = {std::move(stage)};
    const MemoryByCause memory = memory_per_stage(model_, alone_, batch_, mesh_, parameters_).front();
    const auto elements = [&](FlatBufferKind kind) {
      return flat_buffer(model_, alone_.stages.front(), alone_, mesh_, kind).elements;
    };
    return {elements(FlatBufferKind::dense), elements(FlatBufferKind::expert), memory.states(), memory.activations};
  }

 private:
  static Strategy alone(Strategy strategy) {
    strategy.pp = strategy.vpp = 1;
    strategy.schedule = Schedule::gpipe;
    strategy.overlap.ep_batch_level = false;
    return strategy;
  }
  /// Of a pipeline rank; DualPipe shards over both that hold a stage.
  static std::int64_t ranks(const Strategy& strategy, const Mesh& mesh) {
    return mesh.ranks_per_stage() * (strategy.schedule == Schedule::dualpipe ? 2 : 1);
  }

  const Model& model_;
  Strategy alone_;
  Mesh mesh_;
  MemoryModel parameters_;
  BatchShape batch_;
};

StagePart part_of(std::int64_t stage, StagePart::Kind kind, const std::set<RecomputeModule>& recompute,
                  const Sizes& sizes) {
  return {.stage = stage,
          .kind = kind,
          .recompute = recompute,
          .dense_parameters = sizes.dense,
          .expert_parameters = sizes.expert,
          .states = sizes.states,
          .saved = sizes.saved};
}

void add_layers(const Model& model, const StageLayout& stage, std::int64_t index, Scales& scales,
                std::vector<StagePart>& parts) {
  Sizes of_one;  // of the part at the back
  for (std::int64_t i = 0; i < stage.num_layers; ++i) {
    const bool recomputes = i < stage.num_recompute_layers.value_or(stage.num_layers);
    const std::set<RecomputeModule> recompute = recomputes ? stage.recompute : std::set<RecomputeModule>{};
    const std::int64_t layer = stage.first_layer + i;
    const Sizes sizes = scales.weigh({.first_layer = layer, .num_layers = 1, .recompute = recompute});
    const auto kind = model.kind(layer) == LayerKind::moe ? StagePart::Kind::moe : StagePart::Kind::dense;
    const StagePart* last = parts.empty() ? nullptr : &parts.back();
    const bool same = i > 0 && last->kind == kind && last->recompute == recompute && sizes == of_one;
    if (!same) {
      parts.push_back(part_of(index, kind, recompute, sizes));
      of_one = sizes;
      continue;
    }
    StagePart& part = parts.back();
    ++part.count;
    part.dense_parameters += sizes.dense;
    part.expert_parameters += sizes.expert;
    part.states += sizes.states;
    part.saved += sizes.saved;
  }
}

/// `has_embedding`: the rank does, on this stage or another; modules and a tied head then need no copy.
void add_stage(const Model& model, const StageLayout& stage, std::int64_t index, bool has_embedding, Scales& scales,
               std::vector<StagePart>& parts) {
  if (stage.embedding) {
    parts.push_back(part_of(index, StagePart::Kind::embedding, {}, scales.weigh({.embedding = true})));
  }
  add_layers(model, stage, index, scales, parts);
  StageLayout rest{.first_layer = model.num_layers(), .embedding = has_embedding, .recompute = stage.recompute};
  if (stage.num_mtp > 0) {
    const Sizes before = scales.weigh(rest);
    rest.num_mtp = stage.num_mtp;
    parts.push_back(part_of(index, StagePart::Kind::mtp, stage.recompute, scales.weigh(rest) - before));
    parts.back().count = stage.num_mtp;
  }
  if (stage.head) {
    const Sizes before = scales.weigh(rest);
    rest.head = true;
    parts.push_back(part_of(index, StagePart::Kind::head, {}, scales.weigh(rest) - before));
  }
}

/// Walks through the slots of the rank with what each of its stages saves.
void find_fullest_moment(const Strategy& strategy, std::int64_t num_micro_batches, std::int64_t rank,
                         const std::vector<std::int64_t>& stages, RankTable& table) {
  std::vector<Bytes> saved(static_cast<std::size_t>(strategy.num_stages()));
  for (const StagePart& part : table.parts) saved[static_cast<std::size_t>(part.stage)] += part.saved;
  std::vector<std::int64_t> held(saved.size()), fullest;
  Bytes most;
  const auto total = [&] {
    Bytes sum;
    for (const std::int64_t stage : stages) {
      const auto i = static_cast<std::size_t>(stage);
      sum += saved[i] * static_cast<double>(held[i]);
    }
    return sum;
  };
  for (const Slot& slot : slots_of(strategy, num_micro_batches, rank)) {
    if (slot.kind == Slot::Kind::backward || slot.kind == Slot::Kind::weight_grad) {
      --held[static_cast<std::size_t>(slot.stage)];
    }
    if (slot.kind != Slot::Kind::forward) continue;
    ++held[static_cast<std::size_t>(slot.stage)];
    if (const Bytes now = total(); fullest.empty() || now > most) {
      most = now;
      fullest = held;
      table.stage = slot.stage;
      table.micro_batch = slot.micro_batch;
    }
    if (slot.beside) --held[static_cast<std::size_t>(slot.beside->stage)];
  }
  CHECK(!fullest.empty(), rank);
  for (StagePart& part : table.parts) part.in_flight = fullest[static_cast<std::size_t>(part.stage)];
}

}  // namespace

RankTable rank_table(const Model& model, const Strategy& strategy, const BatchShape& batch, const Mesh& mesh,
                     const MemoryModel& parameters, std::int64_t rank) {
  const std::vector<std::int64_t> stages = stages_of(strategy, rank);
  Scales scales(model, strategy, batch, mesh, parameters);
  bool has_embedding = false;
  for (const std::int64_t stage : stages) has_embedding |= strategy.stages[static_cast<std::size_t>(stage)].embedding;
  RankTable table;
  for (const std::int64_t stage : stages) {
    add_stage(model, strategy.stages[static_cast<std::size_t>(stage)], stage, has_embedding, scales, table.parts);
  }
  find_fullest_moment(strategy, batch.global_batch / (mesh.dp() * strategy.micro_batch), rank, stages, table);
  return table;
}

std::string_view name_of(StagePart::Kind kind) {
  switch (kind) {
    case StagePart::Kind::embedding:
      return "embedding";
    case StagePart::Kind::dense:
      return "dense";
    case StagePart::Kind::moe:
      return "moe";
    case StagePart::Kind::mtp:
      return "mtp";
    case StagePart::Kind::head:
      return "head";
  }
  return "?";
}

}  // namespace orrery::costmodel
