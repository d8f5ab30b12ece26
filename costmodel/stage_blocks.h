// SPDX-License-Identifier: Apache-2.0
// What a stage consists of, as blocks: layers by class, and the ends of the model. Each different block is made once,
// so that a search which lays stages in many ways pays for each kind of layer and not for each stage.
#pragma once

#include "costmodel/block_times.h"
#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

namespace orrery::costmodel {

class StageBlocks {
 public:
  enum class Aim : std::uint8_t { estimate, bound };

  /// Of `strategy`, all but its stages and its schedule's order; asks `timer` about arithmetic. All must outlive it.
  /// For a bound, blocks have only the communication that somebody waits for.
  StageBlocks(const Model& model, const Strategy& strategy, const BatchShape& batch, ClosedTimer& timer,
              Aim aim = Aim::estimate);

  /// Of a stage on the pipeline rank that the timer has entered, with waits for the host.
  Slots slots(const StageLayout& layout);

  /// Of the message behind chunk `chunk` of pipeline rank `rank` in the pipeline of `strategy`: the residual stream,
  /// and what prediction modules before it have made of it; zero where the stage behind is on the same rank. Requires:
  /// `timer` has entered that rank, or one that stands for it.
  static Seconds message(const Model& model, const Strategy& strategy, const BatchShape& batch, std::int64_t rank,
                         std::size_t chunk, ClosedTimer& timer);

 private:
  /// A block, and what its communication takes on the pipeline rank that was asked about last.
  struct Block {
    BlockTimes times;
    std::vector<Seconds> communication = {};
    std::optional<std::int64_t> rank = {};
  };
  /// Calls `use` with each different block of a stage and how many of it there are.
  void for_each(const StageLayout& layout, const std::function<void(const Block&, double)>& use);
  /// The layer that the backward of a stage begins with; none on a stage without layers.
  const Block* last_layer(const StageLayout& layout);
  /// Layers with the same kind, span and modules take the same.
  using LayerClass = std::tuple<LayerKind, AttentionSpan, std::set<RecomputeModule>>;
  /// One end of the model, or what a prediction module has before its layer; with or without a head behind it.
  enum class End : std::uint8_t { embedding, mtp, mtp_apart, head, head_behind_mtp };

  BlockTimes times_of(const std::vector<LayerOp>& ops);
  const Block& layer(std::int64_t layer, const LayerClass& of);
  const Block& end(End which);
  /// `block` with what it takes on the rank that the timer has entered.
  const Block& on_this_rank(Block& block);

  const Model& model_;
  const Strategy& strategy_;
  const BatchShape batch_;
  ClosedTimer& timer_;
  const Aim aim_;
  std::map<LayerClass, Block> layers_;
  std::map<End, Block> ends_;
};

}  // namespace orrery::costmodel
