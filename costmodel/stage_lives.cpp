// SPDX-License-Identifier: Apache-2.0
#include "costmodel/stage_lives.h"

#include "base/check.h"
#include "program/counts.h"

#include <algorithm>

namespace orrery::costmodel {
namespace {

using R = TensorRole;
using Part = TensorLives::Part;
using Modules = std::set<RecomputeModule>;

bool is_message(Neighbour neighbour) {
  return neighbour == Neighbour::next_rank || neighbour == Neighbour::previous_rank;
}

/// The lines of both gradients of a block. Together: as the table orders them. Split, or with delayed weight gradients:
/// all input gradients first.
void add_input_grads(const TensorTable& table, int position, TensorLives& lives) {
  for (const TableLine& line : table.backward_lines()) {
    if (line.phase == TablePhase::input_grad) lives.add(Part::input_grad, table, line, position);
  }
}

void add_weight_grads(Part part, const TensorTable& table, int position, TensorLives& lives) {
  for (const TableLine& line : table.backward_lines()) {
    if (line.phase != TablePhase::input_grad) lives.add(part, table, line, position);
  }
}

void add_gradients(const TensorTable& table, bool split, int position, TensorLives& lives) {
  if (split) return add_input_grads(table, position, lives);
  for (const TableLine& line : table.backward_lines()) lives.add(Part::input_grad, table, line, position);
}

void add_forward(const TensorTable& table, int position, TensorLives& lives) {
  for (const TableLine& line : table.forward_lines()) lives.add(Part::forward, table, line, position);
}

/// Runs lines of a forward again, before the gradients that need them.
template <class Wanted>
void add_again(const TensorTable& table, int position, bool keeps_out, TensorLives& lives, Wanted wanted) {
  for (const TableLine& line : table.forward_lines()) {
    if (wanted(line)) lives.add(Part::input_grad, table, line, position, keeps_out);
  }
}

/// The module that runs a whole feed-forward again.
RecomputeModule whole_module(LayerKind kind) {
  return kind == LayerKind::moe ? RecomputeModule::moe : RecomputeModule::mlp;
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
    : sizes_(sizes),
      counts_(sizes.model, sizes.strategy),
      attention_(attention_table(sizes)),
      embedding_(embedding_table(sizes)) {
  const Strategy& s = sizes.strategy;
  const bool shares_dense = mesh.size(Group::dp_shard) > 1, shares_experts = mesh.size(Group::edp_shard) > 1;
  gathers_dense_ = s.zero_dense == 3 && shares_dense;
  gathers_expert_ = s.zero_expert == 3 && shares_experts;
  buckets_dense_ = s.zero_dense >= 2 && shares_dense;
  buckets_expert_ = s.zero_expert >= 2 && shares_experts;
}

double StageLivesMaker::bucket(const RankElements& elements) const {
  const std::int64_t summed = (buckets_dense_ ? elements.dense : 0) + (buckets_expert_ ? elements.expert : 0);
  return static_cast<double>(summed * size_of(sizes_.strategy.grad_wire_dtype));
}

StageLivesMaker::Unit StageLivesMaker::unit(const UnitLives& lives, const RankElements& elements, bool is_layer) const {
  Unit out{.work = &lives.work,
           .dense = gathers_dense_ ? static_cast<double>(elements.dense) * sizes_.element : 0.0,
           .expert = gathers_expert_ ? static_cast<double>(elements.expert) * sizes_.element : 0.0};
  if (is_layer && sizes_.strategy.offload_activations) out.offloaded = lives.offloaded;
  return out;
}

std::int64_t StageLivesMaker::num_modules() const { return num_mtp_modules(sizes_.model, sizes_.strategy.mtp); }

const TensorTable& StageLivesMaker::ffn(LayerKind kind) {
  std::optional<TensorTable>& table = kind == LayerKind::moe ? moe_ : dense_;
  if (!table) table = kind == LayerKind::moe ? moe_table(sizes_) : dense_table(sizes_);
  return *table;
}

void StageLivesMaker::add_layer_forward(LayerKind kind, int position, TensorLives& lives) {
  add_forward(attention_, position, lives);
  add_forward(ffn(kind), position, lives);
}

void StageLivesMaker::add_layer_gradients(LayerKind kind, const Modules& recompute, bool split, int position,
                                          TensorLives& lives) {
  const TensorTable& mlp = ffn(kind);
  const bool delayed = !split && sizes_.strategy.overlap.delayed_wgrad;
  const auto has = [&](RecomputeModule module) { return recompute.contains(module); };
  const bool full = has(RecomputeModule::full), whole_ffn = full || has(whole_module(kind));
  const bool keeps_out = has(RecomputeModule::core_attn);
  if (full) add_again(attention_, position, false, lives, [](const TableLine&) { return true; });
  // A module that is run again runs as a whole, its collectives and outputs that nobody needs included.
  const auto again = [&](const TableLine& line) { return line.module != RecomputeModule::full && has(line.module); };
  if (whole_ffn) {
    add_again(mlp, position, false, lives, [](const TableLine& line) { return !line.residual; });
  } else {
    for (const RecomputeModule module :
         {RecomputeModule::layernorm, RecomputeModule::shared_experts, RecomputeModule::moe_act}) {
      add_again(mlp, position, false, lives,
                [&](const TableLine& line) { return line.module == module && again(line); });
    }
  }
  add_gradients(mlp, split || delayed, position, lives);
  for (const RecomputeModule module :
       {RecomputeModule::layernorm, RecomputeModule::mla_up_proj, RecomputeModule::core_attn}) {
    add_again(attention_, position, keeps_out, lives,
              [&](const TableLine& line) { return line.module == module && again(line); });
  }
  add_gradients(attention_, split || delayed, position, lives);
  if (delayed) add_layer_weight_grads(kind, Part::input_grad, position, lives);
}

void StageLivesMaker::add_layer_weight_grads(LayerKind kind, Part part, int position, TensorLives& lives) {
  add_weight_grads(part, ffn(kind), position, lives);
  add_weight_grads(part, attention_, position, lives);
}

const TensorLives::Parts& StageLivesMaker::layer(LayerKind kind, const Modules& recompute, bool split) {
  std::uint32_t modules = 0;
  for (const RecomputeModule module : recompute) modules |= 1U << static_cast<int>(module);
  const auto [found, is_new] = layers_.try_emplace({kind, modules, split});
  if (!is_new) return found->second;
  std::int64_t example = 0;
  while (sizes_.model.kind(example) != kind) ++example;
  TensorLives lives(sizes_.stream(), 2);
  lives.begin_unit(0, bucket(counts_.layer(example)));
  add_layer_forward(kind, 0, lives);
  add_layer_gradients(kind, recompute, split, 0, lives);
  if (split) add_layer_weight_grads(kind, Part::weight_grad, 0, lives);
  lives.leaves(R::x, 1);
  lives.leaves(R::d_x, 0);
  found->second = lives.run();
  if (!recompute.contains(RecomputeModule::full)) add_framework(kind, found->second);
  return found->second;
}

void StageLivesMaker::add_framework(LayerKind kind, Parts& parts) const {
  LifeSegments &forward = parts[0].front().work, &backward = parts[1].front().work;
  const double ours = whole(forward).net.saved / sizes_.tokens;
  const double more =
      sizes_.tokens * saved_beside(sizes_.parameters.framework, sizes_.model, sizes_.strategy, kind, ours);
  forward.back().net += {more, more};
  if (forward.back().net.all > forward.back().peak.all) forward.back().peak = forward.back().net;
  backward.back().net += {-more, -more};
}

TensorLives::Parts StageLivesMaker::embedding(bool split) const {
  TensorLives lives(sizes_.stream(), 1);
  lives.begin_unit(0, bucket(counts_.embedding()));
  add_forward(embedding_, 0, lives);
  add_weight_grads(split ? Part::weight_grad : Part::input_grad, embedding_, 0, lives);
  lives.leaves(R::x, 0);
  return lives.run();
}

TensorLives::Parts StageLivesMaker::tail(const StageLayout& layout, const StageNeighbours& neighbours, bool split,
                                         std::vector<RankElements>& elements) {
  const auto here = static_cast<int>(layout.num_mtp), all = static_cast<int>(num_modules());
  const int heads = layout.head ? all : 0;
  if (!head_) head_ = head_table(sizes_, false);
  if (all > 0 && !mtp_) {
    adding_head_ = head_table(sizes_, true);
    mtp_ = mtp_table(sizes_, false);
    adding_mtp_ = mtp_table(sizes_, true);
  }
  // Position 0 is behind the last layer; 1 + 2i and 2 + 2i are input and output of module i. Units: the modules, their
  // heads, and the model's head.
  const auto input = [](int module) { return 1 + 2 * module; };
  const auto output = [](int module) { return 2 + 2 * module; };
  const auto head_of = [all](int module) { return all + module; };
  const LayerKind kind = sizes_.model.layers.back();
  const Modules recompute = layout.num_recompute_layers ? Modules{} : layout.recompute;
  elements.assign(2 * static_cast<std::size_t>(all) + 1, counts_.head());
  for (int i = 0; i < all; ++i) {
    // A module uses the embedding as well, which is no parameter of its own.
    RankElements& module = elements[static_cast<std::size_t>(i)] = counts_.layer(sizes_.model.num_layers() + i);
    module.dense += sizes_.model.vocab / sizes_.tp * sizes_.model.hidden;
  }
  TensorLives lives(sizes_.stream(), 1 + 2 * all);
  const auto begin = [&](int unit) { lives.begin_unit(unit, bucket(elements[static_cast<std::size_t>(unit)])); };

  for (int i = 0; i < here; ++i) {
    begin(i);
    add_forward(*mtp_, input(i), lives);
    add_layer_forward(kind, input(i), lives);
  }
  if (layout.head) {
    begin(2 * all);
    add_forward(*head_, 0, lives);
  }
  for (int i = 0; i < heads; ++i) {
    begin(head_of(i));
    add_forward(*head_, output(i), lives);
  }

  // The gradient of hidden states that a module and a head share is made by whoever's turn is first.
  for (int i = heads - 1; i >= here; --i) {
    begin(head_of(i));
    add_gradients(*head_, split, output(i), lives);
  }
  for (int i = here - 1; i >= 0; --i) {
    if (layout.head) {
      begin(head_of(i));
      add_gradients(i + 1 < here ? *adding_head_ : *head_, split, output(i), lives);
    }
    begin(i);
    add_layer_gradients(kind, recompute, split, input(i), lives);
    add_gradients(layout.head ? *mtp_ : *adding_mtp_, split, input(i), lives);
  }
  if (layout.head) {
    begin(2 * all);
    add_gradients(here > 0 ? *adding_head_ : *head_, split, 0, lives);
  }
  if (split) {
    for (int i = heads - 1; i >= 0; --i) {
      begin(head_of(i));
      add_weight_grads(Part::weight_grad, *head_, output(i), lives);
    }
    for (int i = here - 1; i >= 0; --i) {
      begin(i);
      add_layer_weight_grads(kind, Part::weight_grad, input(i), lives);
      add_weight_grads(Part::weight_grad, *mtp_, input(i), lives);
    }
    if (layout.head) {
      begin(2 * all);
      add_weight_grads(Part::weight_grad, *head_, 0, lives);
    }
  }

  // What other stages take over: the gradient before, outputs without a head.
  lives.leaves(R::d_x, 0);
  for (int i = 0; i < all && !layout.head; ++i) lives.leaves(R::x, output(i));
  for (int i = here; i < heads; ++i) lives.leaves(R::d_x, output(i));
  // A module before it on this rank reads the hidden states last.
  if (layout.head && here < all && neighbours.before == Neighbour::same_rank) lives.leaves(R::x, 0);
  return lives.run();
}

LifeSegments StageLivesMaker::slot(const std::vector<Unit>& units, Part part) const {
  LifeSegments out(1);
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
  const bool modules_before = num_modules() > 0 && layout.head && layout.num_mtp == 0;
  const bool modules_behind = num_modules() > 0 && !layout.head && layout.num_mtp > 0;
  const auto modules = static_cast<double>(num_modules());
  const LiveBytes x{sizes_.stream(), sizes_.stream()}, d_x{sizes_.stream(), 0.0};

  static const Modules kNone;
  StageLives out;
  for (const bool split : {false, true}) {
    if (!(split ? kinds.split : kinds.whole)) continue;
    Parts first, last;
    std::vector<RankElements> last_elements;
    if (layout.embedding) first = embedding(split);
    if (layout.head || layout.num_mtp > 0) last = tail(layout, neighbours, split, last_elements);
    const auto add_ends = [&](std::size_t part, std::vector<Unit>& units) {
      for (const UnitLives& lives : last[part]) {
        units.push_back(unit(lives, last_elements[static_cast<std::size_t>(lives.unit)], lives.unit < num_modules()));
      }
    };
    const auto add_layer = [&](std::int64_t i, std::size_t part, std::vector<Unit>& units) {
      const bool recomputes = i < layout.num_recompute_layers.value_or(layout.num_layers);
      const std::int64_t index = layout.first_layer + i;
      const Parts& parts = layer(sizes_.model.kind(index), recomputes ? layout.recompute : kNone, split);
      units.push_back(unit(parts[part].front(), counts_.layer(index), true));
    };
    const auto add_embedding = [&](std::size_t part, std::vector<Unit>& units) {
      // The gradient of a lookup needs no weights.
      const RankElements gathered = part == 0 ? counts_.embedding() : RankElements{};
      for (const UnitLives& lives : first[part]) units.push_back(unit(lives, gathered, false));
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
