// SPDX-License-Identifier: Apache-2.0
#include "costmodel/piece_lives.h"

#include "program/counts.h"

#include <algorithm>

namespace orrery::costmodel {
namespace {

using R = TensorRole;
using Part = TensorLives::Part;
using Modules = std::set<RecomputeModule>;

std::uint32_t bits_of(const Modules& modules) {
  std::uint32_t bits = 0;
  for (const RecomputeModule module : modules) bits |= 1U << static_cast<int>(module);
  return bits;
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

PieceLives::PieceLives(const TableSizes& sizes)
    : sizes_(sizes),
      counts_(sizes.model, sizes.strategy),
      attention_(attention_table(sizes)),
      embedding_(embedding_table(sizes)) {}

double PieceLives::bucket(const RankElements& elements, InBuckets buckets) const {
  const std::int64_t summed = (buckets.dense ? elements.dense : 0) + (buckets.expert ? elements.expert : 0);
  return static_cast<double>(summed * size_of(sizes_.strategy.grad_wire_dtype));
}

std::int64_t PieceLives::num_modules() const { return num_mtp_modules(sizes_.model, sizes_.strategy.mtp); }

const TensorTable& PieceLives::ffn(LayerKind kind) {
  std::optional<TensorTable>& table = kind == LayerKind::moe ? moe_ : dense_;
  if (!table) table = kind == LayerKind::moe ? moe_table(sizes_) : dense_table(sizes_);
  return *table;
}

void PieceLives::add_layer_forward(LayerKind kind, int position, TensorLives& lives) {
  add_forward(attention_, position, lives);
  add_forward(ffn(kind), position, lives);
}

void PieceLives::add_layer_gradients(LayerKind kind, const Modules& recompute, bool split, int position,
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

void PieceLives::add_layer_weight_grads(LayerKind kind, Part part, int position, TensorLives& lives) {
  add_weight_grads(part, ffn(kind), position, lives);
  add_weight_grads(part, attention_, position, lives);
}

const TensorLives::Parts& PieceLives::layer(LayerKind kind, const Modules& recompute, bool split, InBuckets buckets) {
  const auto [found, is_new] = layers_.try_emplace({kind, bits_of(recompute), split, buckets});
  if (!is_new) return found->second;
  std::int64_t example = 0;
  while (sizes_.model.kind(example) != kind) ++example;
  TensorLives lives(sizes_.stream(), 2);
  lives.begin_unit(0, bucket(counts_.layer(example), buckets));
  add_layer_forward(kind, 0, lives);
  add_layer_gradients(kind, recompute, split, 0, lives);
  if (split) add_layer_weight_grads(kind, Part::weight_grad, 0, lives);
  lives.leaves(R::x, 1);
  lives.leaves(R::d_x, 0);
  found->second = lives.run();
  if (!recompute.contains(RecomputeModule::full)) add_framework(kind, found->second);
  return found->second;
}

void PieceLives::add_framework(LayerKind kind, Parts& parts) const {
  LifeSegments &forward = parts[0].front().work, &backward = parts[1].front().work;
  const double ours = whole(forward).net.saved / sizes_.tokens;
  const double more =
      sizes_.tokens * saved_beside(sizes_.parameters.framework, sizes_.model, sizes_.strategy, kind, ours);
  forward.back().net += {more, more};
  if (forward.back().net.all > forward.back().peak.all) forward.back().peak = forward.back().net;
  backward.back().net += {-more, -more};
}

const TensorLives::Parts& PieceLives::embedding(bool split, InBuckets buckets) {
  const auto [found, is_new] = embeddings_.try_emplace({split, buckets});
  if (!is_new) return found->second;
  TensorLives lives(sizes_.stream(), 1);
  lives.begin_unit(0, bucket(counts_.embedding(), buckets));
  add_forward(embedding_, 0, lives);
  add_weight_grads(split ? Part::weight_grad : Part::input_grad, embedding_, 0, lives);
  lives.leaves(R::x, 0);
  return found->second = lives.run();
}

const PieceLives::Tail& PieceLives::tail(const StageLayout& layout, Neighbour before, bool split, InBuckets buckets) {
  const Modules recompute = layout.num_mtp == 0 || layout.num_recompute_layers ? Modules{} : layout.recompute;
  const bool reads_last = before == Neighbour::same_rank;
  const auto [found, is_new] =
      tails_.try_emplace({layout.num_mtp, layout.head, bits_of(recompute), reads_last, split, buckets});
  if (!is_new) return found->second;
  std::vector<RankElements>& elements = found->second.elements;
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
  elements.assign(2 * static_cast<std::size_t>(all) + 1, counts_.head());
  for (int i = 0; i < all; ++i) {
    // A module uses the embedding as well, which is no parameter of its own.
    RankElements& module = elements[static_cast<std::size_t>(i)] = counts_.layer(sizes_.model.num_layers() + i);
    module.dense += sizes_.model.vocab / sizes_.tp * sizes_.model.hidden;
  }
  TensorLives lives(sizes_.stream(), 1 + 2 * all);
  const auto begin = [&](int unit) {
    lives.begin_unit(unit, bucket(elements[static_cast<std::size_t>(unit)], buckets));
  };

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
  if (layout.head && here < all && reads_last) lives.leaves(R::x, 0);
  found->second.parts = lives.run();
  return found->second;
}

}  // namespace orrery::costmodel
