// SPDX-License-Identifier: Apache-2.0
// How long the tensors of a table live: from the op that creates them to the last op that reads them, over the forward
// and the backward of one micro-batch. Of a piece of a stage (a layer, or its ends) remains what memory depends on: how
// much it adds to what lives, and how much it needs at its fullest moment. Pieces and slots are then put together by
// adding such segments, without looking at tensors again.
#pragma once

#include "costmodel/tensor_table.h"

#include <array>
#include <cstdint>
#include <vector>

namespace orrery::costmodel {

/// Bytes that live at a moment, and those among them that wait for the backward.
struct LiveBytes {
  double all = 0.0;
  double saved = 0.0;
  LiveBytes& operator+=(const LiveBytes& other) {
    all += other.all;
    saved += other.saved;
    return *this;
  }
  friend LiveBytes operator+(LiveBytes a, const LiveBytes& b) { return a += b; }
  friend LiveBytes operator*(double n, const LiveBytes& a) { return {n * a.all, n * a.saved}; }
};

/// A run of ops, relative to what lives before it.
struct LifeSegment {
  LiveBytes peak;  // at its fullest moment, at least nothing
  LiveBytes net;   // at its end
};

/// One run after the other.
LifeSegment joined(const LifeSegment& first, const LifeSegment& second);

/// The segments of a run of ops, cut behind each exchange with the experts' ranks.
using LifeSegments = std::vector<LifeSegment>;

/// Appends; the last segment of `to` has no exchange at its end and goes on.
void append(const LifeSegments& segments, LifeSegments& to);
LifeSegment whole(const LifeSegments& segments);

/// Two streams that share a rank, a segment of each in turn.
LifeSegment zipped(const LifeSegments& first, const LifeSegments& second);

/// Consecutive ops of one layer or one end of the model in a slot: what ZeRO exchanges and offload copies at once.
struct UnitLives {
  int unit = 0;
  LifeSegments work;
  LiveBytes offloaded;  // what the unit saves, which offload takes away until the backward
};

/// Collects the ops of one piece of a stage, in the order of their slots, and follows its tensors.
class TensorLives {
 public:
  /// `stream`: bytes of the tensors that enter, inputs and gradients of outputs of layers.
  /// `num_positions`: layers whose tensors the piece touches.
  TensorLives(double stream, int num_positions);

  /// The slots of a micro-batch. A whole backward is an input gradient without a weight gradient slot.
  enum class Part : std::uint8_t { forward, input_grad, weight_grad };
  static constexpr std::size_t kNumParts = 3;
  using Parts = std::array<std::vector<UnitLives>, kNumParts>;

  /// Lines that follow belong to unit `unit`. `bucket`: bytes that its first weight gradient creates and its end
  /// releases.
  void begin_unit(int unit, double bucket = 0.0);
  /// `position`: of the layer that is offset 0 to the line. `keeps_out`: the attention's output is there already, so
  /// that what the line creates of it is scratch.
  void add(Part part, const TensorTable& table, const TableLine& line, int position, bool keeps_out = false);
  /// Another piece of the rank releases this tensor.
  void leaves(TensorRole role, int position);

  Parts run() const;

 private:
  struct Event {
    const TableUse *begin, *end;
    Part part;
    std::int8_t position;
    std::int8_t unit;
    bool exchange, keeps_out, makes_weight_gradient;
  };
  struct Life;
  std::size_t name(TensorRole role, int position) const;
  std::vector<Life> follow() const;
  /// Buckets of gradients, as lives.
  void add_buckets(std::vector<Life>& lives) const;

  double stream_;
  int num_positions_;
  std::vector<Event> events_;
  std::vector<std::size_t> leaving_;
  std::vector<double> buckets_;  // by unit
  int unit_ = 0;
};

}  // namespace orrery::costmodel
