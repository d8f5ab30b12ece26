// SPDX-License-Identifier: Apache-2.0
#include "costmodel/stage_lives.h"

#include "base/check.h"

#include <array>
#include <utility>

namespace orrery::costmodel {
namespace {

using Part = TensorLives::Part;
using Modules = std::set<RecomputeModule>;

bool is_message(Neighbour neighbour) {
  return neighbour == Neighbour::next_rank || neighbour == Neighbour::previous_rank;
}

}  // namespace

void SlotLives::add_up() {
  total = {.peak = receive, .net = receive};
  for (const LifeSegment& segment : work) total = joined(total, segment);
  total.net += send;
}

const SlotLives& StageLives::of(Slot::Kind kind) const {
  switch (kind) {
    case Slot::Kind::forward:
      return forward;
    case Slot::Kind::backward:
      return backward;
    case Slot::Kind::input_grad:
      return input_grad;
    case Slot::Kind::weight_grad:
      return weight_grad;
  }
  CHECK(false, static_cast<int>(kind));
}

StageLivesMaker::StageLivesMaker(const TableSizes& sizes, const Mesh& mesh)
    : StageLivesMaker(sizes, mesh, std::make_shared<PieceLives>(sizes)) {}

StageLivesMaker::StageLivesMaker(const TableSizes& sizes, const Mesh& mesh, std::shared_ptr<PieceLives> pieces)
    : sizes_(sizes), pieces_(std::move(pieces)) {
  const Strategy& s = sizes.strategy;
  const bool shares_dense = mesh.size(Group::dp_shard) > 1, shares_experts = mesh.size(Group::edp_shard) > 1;
  gathers_dense_ = s.zero_dense == 3 && shares_dense;
  gathers_expert_ = s.zero_expert == 3 && shares_experts;
  buckets_ = {.dense = s.zero_dense >= 2 && shares_dense, .expert = s.zero_expert >= 2 && shares_experts};
}

StageLivesMaker::Unit StageLivesMaker::unit(const UnitLives& lives, const RankElements& elements, bool is_layer) const {
  Unit out{.work = &lives.work,
           .dense = gathers_dense_ ? static_cast<double>(elements.dense) * sizes_.element : 0.0,
           .expert = gathers_expert_ ? static_cast<double>(elements.expert) * sizes_.element : 0.0};
  if (is_layer && sizes_.strategy.offload_activations) out.offloaded = lives.offloaded;
  return out;
}

LifeSegments StageLivesMaker::slot(const std::vector<Unit>& units, Part part) const {
  LifeSegments out;
  std::size_t most = 1;
  for (const Unit& unit : units) most += unit.work->size();
  out.reserve(most);
  out.emplace_back();
  const auto come = [&](LiveBytes bytes) {
    if (bytes.all > 0.0) out.back() = joined(out.back(), {.peak = bytes, .net = bytes});
  };
  const auto go = [&](LiveBytes bytes) { out.back().net += -1.0 * bytes; };
  // Weights come one unit ahead: those of the first before everything, and those of the next before a unit's first op.
  const auto next_weights = [&](std::size_t from, double Unit::* kind) {
    if (part == Part::weight_grad) return 0.0;
    while (from < units.size() && units[from].*kind == 0.0) ++from;
    return from < units.size() ? units[from].*kind : 0.0;
  };
  for (double Unit::* kind : {&Unit::dense, &Unit::expert}) come({next_weights(0, kind), 0.0});
  for (std::size_t i = 0; i < units.size(); ++i) {
    const Unit& unit = units[i];
    if (part == Part::input_grad) {
      if (i == 0) come(unit.offloaded);
      if (i + 1 < units.size()) come(units[i + 1].offloaded);
    }
    for (double Unit::* kind : {&Unit::dense, &Unit::expert}) {
      if (unit.*kind > 0.0) come({next_weights(i + 1, kind), 0.0});
    }
    append(*unit.work, out);
    for (double Unit::* kind : {&Unit::dense, &Unit::expert}) {
      if (part != Part::weight_grad) go({unit.*kind, 0.0});
    }
    if (part == Part::forward) go(unit.offloaded);
  }
  return out;
}

const StageLives& StageLivesMaker::stage(const StageLayout& layout, const StageNeighbours& neighbours,
                                         BackwardKinds kinds) {
  // All that a stage depends on: layers and whether they recompute, ends, neighbours.
  std::string key;
  char last = 0;
  std::uint16_t in_a_row = 0;
  const auto end_row = [&] {
    key += {last, static_cast<char>(in_a_row & 0xff), static_cast<char>(in_a_row >> 8)};
    in_a_row = 0;
  };
  for (std::int64_t i = 0; i < layout.num_layers; ++i) {
    const bool recomputes = i < layout.num_recompute_layers.value_or(layout.num_layers);
    const bool is_moe = sizes_.model.kind(layout.first_layer + i) == LayerKind::moe;
    const char letter = is_moe ? (recomputes ? 'M' : 'm') : (recomputes ? 'D' : 'd');
    if (letter != last && in_a_row > 0) end_row();
    last = letter;
    ++in_a_row;
  }
  end_row();
  const auto add = [&key](auto value) { key += static_cast<char>('0' + static_cast<int>(value)); };
  for (const bool flag :
       {layout.embedding, layout.head, layout.num_recompute_layers.has_value(), kinds.whole, kinds.split}) {
    add(flag);
  }
  add(layout.num_mtp);
  // Whichever rank a message comes from or goes to.
  const auto add_side = [&](Neighbour side) { add(is_message(side) ? Neighbour::next_rank : side); };
  add_side(neighbours.before);
  add_side(neighbours.behind);
  for (const RecomputeModule module : layout.recompute) add(module);
  const auto [found, is_new] = stages_.try_emplace(std::move(key));
  if (is_new) found->second = make(layout, neighbours, kinds);
  return found->second;
}

StageLives StageLivesMaker::make(const StageLayout& layout, const StageNeighbours& neighbours, BackwardKinds kinds) {
  // Outputs of prediction modules cross boundaries between their stage and the head's, beside the hidden states.
  const bool modules_before = pieces_->num_modules() > 0 && layout.head && layout.num_mtp == 0;
  const bool modules_behind = pieces_->num_modules() > 0 && !layout.head && layout.num_mtp > 0;
  const auto modules = static_cast<double>(pieces_->num_modules());
  const LiveBytes x{sizes_.stream(), sizes_.stream()}, d_x{sizes_.stream(), 0.0};

  static const Modules none;
  StageLives out;
  for (const bool split : {false, true}) {
    if (!(split ? kinds.split : kinds.whole)) continue;
    const Parts* first = layout.embedding ? &pieces_->embedding(split, buckets_) : nullptr;
    const PieceLives::Tail* last = nullptr;
    if (layout.head || layout.num_mtp > 0) last = &pieces_->tail(layout, neighbours.before, split, buckets_);
    const auto add_ends = [&](std::size_t part, std::vector<Unit>& units) {
      if (last == nullptr) return;
      for (const UnitLives& lives : last->parts[part]) {
        units.push_back(
            unit(lives, last->elements[static_cast<std::size_t>(lives.unit)], lives.unit < pieces_->num_modules()));
      }
    };
    std::array<std::array<const Parts*, 2>, 2> alike{};  // by kind, and whether they recompute
    const auto add_layer = [&](std::int64_t i, std::size_t part, std::vector<Unit>& units) {
      const bool recomputes = i < layout.num_recompute_layers.value_or(layout.num_layers);
      const std::int64_t index = layout.first_layer + i;
      const LayerKind kind = sizes_.model.kind(index);
      const Parts*& parts = alike[kind == LayerKind::moe ? 1 : 0][recomputes ? 1 : 0];
      if (parts == nullptr) parts = &layer(kind, recomputes ? layout.recompute : none, split);
      units.push_back(unit((*parts)[part].front(), pieces_->counts().layer(index), true));
    };

    const auto add_embedding = [&](std::size_t part, std::vector<Unit>& units) {
      // The gradient of a lookup needs no weights.
      if (first == nullptr) return;
      const RankElements gathered = part == 0 ? pieces_->counts().embedding() : RankElements{};
      for (const UnitLives& lives : (*first)[part]) units.push_back(unit(lives, gathered, false));
    };
    std::vector<Unit> forward;
    add_embedding(0, forward);
    for (std::int64_t i = 0; i < layout.num_layers; ++i) add_layer(i, 0, forward);
    add_ends(0, forward);
    out.forward.work = slot(forward, Part::forward);
    for (const Part part : {Part::input_grad, Part::weight_grad}) {
      if (part == Part::weight_grad && !split) continue;
      const auto index = static_cast<std::size_t>(part);
      std::vector<Unit> backward;
      add_ends(index, backward);
      for (std::int64_t i = layout.num_layers - 1; i >= 0; --i) add_layer(i, index, backward);
      add_embedding(index, backward);
      SlotLives& made = part == Part::weight_grad ? out.weight_grad : split ? out.input_grad : out.backward;
      made.work = slot(backward, part);
    }
  }

  if (is_message(neighbours.before)) {
    out.forward.receive = (modules_before ? 1.0 + modules : 1.0) * x;
    out.backward.send = out.input_grad.send = (modules_before ? -1.0 - modules : -1.0) * d_x;
  }
  if (is_message(neighbours.behind)) {
    // A module on this stage reads the hidden states that it sends again.
    out.forward.send = (modules_behind ? -modules : -1.0) * x;
    out.backward.receive = out.input_grad.receive = (modules_behind ? 1.0 + modules : 1.0) * d_x;
  }
  for (SlotLives* slot : {&out.forward, &out.backward, &out.input_grad, &out.weight_grad}) slot->add_up();
  LiveBytes inputs, output_gradients;
  if (neighbours.before == Neighbour::same_rank) {
    inputs = (modules_before ? modules : 1.0) * x;
    out.gradients = (modules_before ? 1.0 + modules : 1.0) * d_x;
  }
  if (neighbours.behind == Neighbour::same_rank) {
    out.outputs = (modules_behind ? modules : 1.0) * x;
    output_gradients = (modules_behind ? 1.0 + modules : 1.0) * d_x;
  }
  out.activations = out.forward.total.net + inputs + -1.0 * out.outputs;
  if (kinds.split) {
    out.weight_grads = out.activations + out.input_grad.total.net + output_gradients + -1.0 * out.gradients;
  }
  return out;
}

}  // namespace orrery::costmodel
