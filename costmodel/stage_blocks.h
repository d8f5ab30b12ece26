// SPDX-License-Identifier: Apache-2.0
// What a stage consists of, as blocks: layers by class, and the ends of the model. Each different block is made once,
// so that a search which lays stages in many ways pays for each kind of layer and not for each stage.
#pragma once

#include "costmodel/block_times.h"
#include "costmodel/piece_times.h"
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
  /// Of a bound: with waits for the host, or as if it were never late.
  enum class Aim : std::uint8_t { estimate, bound, bound_of_device };

  /// Of `strategy`, all but its stages and its schedule's order; asks `timer` about arithmetic. `pieces`: where others
  /// with the same model, batch and cost model have left theirs; none: nowhere. All must outlive it. For a bound,
  /// blocks have only the communication that somebody waits for.
  StageBlocks(const Model& model, const Strategy& strategy, const BatchShape& batch, ClosedTimer& timer,
              Aim aim = Aim::estimate, PieceTimes* pieces = nullptr);

  /// Of a stage on the pipeline rank that the timer has entered, with waits for the host that the aim knows.
  Slots slots(const StageLayout& layout);

  /// Whether a time of arithmetic was extrapolated.
  bool extrapolated() const { return extrapolated_; }

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
  /// Of a stage that begins with a prediction module: its embedding waits for nobody, and may be done before the
  /// message from the stage before is there.
  Seconds ahead_of_message();
  /// Layers with the same kind, span and modules take the same.
  using LayerClass = std::tuple<LayerKind, AttentionSpan, std::set<RecomputeModule>>;

  /// A block whose pieces are all there.
  void finish(BlockTimes& block);
  BlockTimes layer_times(const LayerClass& of);
  const Block& layer(const LayerClass& of);
  const Block& end(Piece which);
  /// `block` with what it takes on the rank that the timer has entered.
  const Block& on_this_rank(Block& block);

  const Model& model_;
  const Strategy& strategy_;
  ClosedTimer& timer_;
  const Aim aim_;
  PieceTimes own_pieces_;
  PieceTimes& pieces_;
  std::map<LayerClass, Block> layers_;
  std::map<Piece, Block> ends_;
  bool extrapolated_ = false;
};

}  // namespace orrery::costmodel
