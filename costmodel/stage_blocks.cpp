// SPDX-License-Identifier: Apache-2.0
#include "costmodel/stage_blocks.h"

#include "program/counts.h"
#include "program/schedule.h"

#include <algorithm>

namespace orrery::costmodel {

StageBlocks::StageBlocks(const Model& model, const Strategy& strategy, const BatchShape& batch, ClosedTimer& timer,
                         Aim aim, PieceTimes* pieces)
    : model_(model),
      strategy_(strategy),
      timer_(timer),
      aim_(aim),
      own_pieces_(model, batch),
      pieces_(pieces != nullptr ? *pieces : own_pieces_) {}

void StageBlocks::finish(BlockTimes& block) {
  extrapolated_ = extrapolated_ || block.extrapolated;
  place_communication(block, strategy_);
  if (aim_ != Aim::estimate) keep_what_is_waited_for(block, strategy_);
}

const StageBlocks::Block& StageBlocks::on_this_rank(Block& block) {
  if (block.rank != timer_.pipeline_rank()) {
    block.communication = communication_times(block.times, timer_);
    block.rank = timer_.pipeline_rank();
  }
  return block;
}

BlockTimes StageBlocks::layer_times(const LayerClass& of) {
  const auto& [kind, span, modules] = of;
  const Piece ffn = kind == LayerKind::moe ? Piece::moe : Piece::dense;
  BlockTimes block = pieces_.once(Piece::attention, span, strategy_, timer_);
  block += pieces_.once(ffn, {}, strategy_, timer_);
  for (std::size_t i = 0; i < kNumOpParts; ++i) {
    const auto part = static_cast<OpPart>(i);
    if (!runs_again(modules, part, kind)) continue;
    block += pieces_.again(Piece::attention, part, span, strategy_, timer_);
    block += pieces_.again(ffn, part, {}, strategy_, timer_);
  }
  finish(block);
  return block;
}

const StageBlocks::Block& StageBlocks::layer(const LayerClass& of) {
  const auto [found, is_new] = layers_.try_emplace(of);
  if (is_new) found->second.times = layer_times(of);
  return on_this_rank(found->second);
}

const StageBlocks::Block& StageBlocks::end(Piece which) {
  const auto [found, is_new] = ends_.try_emplace(which);
  if (is_new) {
    found->second.times = pieces_.once(which, {}, strategy_, timer_);
    finish(found->second.times);
  }
  return on_this_rank(found->second);
}

void StageBlocks::for_each(const StageLayout& layout, const std::function<void(const Block&, double)>& use) {
  struct Layers {
    std::tuple<LayerKind, AttentionSpan, bool> of;  // the last: recomputes
    double count = 0.0;
  };
  std::vector<Layers> layers;  // of few classes
  const auto add_layer = [&](std::int64_t layer, bool recomputes) {
    const std::tuple of(model_.kind(layer), model_.span(layer), recomputes && !layout.recompute.empty());
    auto alike = std::ranges::find(layers, of, &Layers::of);
    if (alike == layers.end()) alike = layers.insert(alike, {.of = of});
    alike->count += 1.0;
  };
  for (std::int64_t i = 0; i < layout.num_layers; ++i) {
    add_layer(layout.first_layer + i, i < layout.num_recompute_layers.value_or(layout.num_layers));
  }
  for (std::int64_t i = 0; i < layout.num_mtp; ++i) add_layer(model_.num_layers() + i, !layout.num_recompute_layers);

  std::ranges::sort(layers, {}, &Layers::of);
  for (const Layers& alike : layers) {
    const auto& [kind, span, recomputes] = alike.of;
    use(layer({kind, span, recomputes ? layout.recompute : std::set<RecomputeModule>{}}), alike.count);
  }
  if (layout.embedding) use(end(Piece::embedding), 1.0);
  if (layout.num_mtp > 0) use(end(layout.head ? Piece::mtp : Piece::mtp_apart), static_cast<double>(layout.num_mtp));
  if (layout.head) {
    // Beside modules only the head of the last one finds no gradient to add its own to.
    const std::int64_t num_heads = 1 + num_mtp_modules(model_, strategy_.mtp), adding = layout.num_mtp;
    use(end(Piece::head), static_cast<double>(num_heads - adding));
    if (adding > 0) use(end(Piece::head_behind_mtp), static_cast<double>(adding));
  }
}

const StageBlocks::Block* StageBlocks::last_layer(const StageLayout& layout) {
  if (layout.num_layers + layout.num_mtp == 0) return nullptr;
  const bool is_module = layout.num_mtp > 0;
  const std::int64_t index =
      is_module ? model_.num_layers() + layout.num_mtp - 1 : layout.first_layer + layout.num_layers - 1;
  const bool recomputes = is_module ? !layout.num_recompute_layers
                                    : layout.num_recompute_layers.value_or(layout.num_layers) == layout.num_layers;
  return &layer({model_.kind(index), model_.span(index), recomputes ? layout.recompute : std::set<RecomputeModule>{}});
}

Slots StageBlocks::slots(const StageLayout& layout) {
  Slots out;
  HostWindows windows;
  for_each(layout,
           [&](const Block& block, double count) { add_block(block.times, count, block.communication, out, windows); });
  if (const Block* last = last_layer(layout)) out.times.lead = time_again(last->times, last->communication);
  if (aim_ == Aim::bound_of_device) windows = {};
  const Seconds input_grad = out.times.input_grad, device = out.times.forward + out.times.backward();
  out.waits_for_host = waits_for_host(windows, strategy_);
  (aim_ == Aim::estimate ? wait_for_host : wait_for_host_at_least)(windows, strategy_, out.times);
  out.loss.add_idle(out.times.forward + out.times.backward() - device);
  if (aim_ != Aim::estimate && layout.num_layers == 0 && layout.num_mtp > 0) {
    // A module without layers before it sends its gradient before it adds up those of its weights, and nobody else
    // waits for these, nor for a host that is late with them.
    out.times.input_grad = input_grad;
    Slots module;
    if (!splits_backward(strategy_)) {
      const Block& block = end(layout.head ? Piece::mtp : Piece::mtp_apart);
      add_block(block.times, 1.0, block.communication, module, windows);
    }
    out.times.weight_grad -= module.times.weight_grad;
    if (!layout.embedding) out.times.forward -= ahead_of_message();
  }
  return out;
}

Seconds StageBlocks::ahead_of_message() {
  const Block& lookup = end(Piece::mtp_lookup);
  Slots ahead;
  HostWindows windows;
  add_block(lookup.times, 1.0, lookup.communication, ahead, windows);
  const Seconds enqueued =
      aim_ == Aim::bound ? lookup.times.host_forward : Seconds();  // at most, of waits for the host
  return ahead.times.forward + enqueued;
}

Seconds StageBlocks::message(const Model& model, const Strategy& strategy, const BatchShape& batch, std::int64_t rank,
                             std::size_t chunk, ClosedTimer& timer) {
  const Neighbour behind = neighbours_of(strategy, rank, chunk).behind;
  if (behind != Neighbour::next_rank && behind != Neighbour::previous_rank) return {};
  const std::int64_t stage = stages_of(strategy, rank)[chunk];
  std::int64_t streams = 1;
  for (std::int64_t s = 0; s <= stage; ++s) streams += strategy.stages[static_cast<std::size_t>(s)].num_mtp;
  const std::int64_t rows = batch.seq * strategy.micro_batch / strategy.cp / (strategy.sp ? strategy.tp : 1);
  return timer.message(streams * rows * model.hidden * size_of(compute_dtype(strategy)),
                       behind == Neighbour::next_rank);
}

}  // namespace orrery::costmodel
