// SPDX-License-Identifier: Apache-2.0
// Passes over streams of a stage that do not care what a layer does, only where it begins and ends.
#pragma once

#include "program/lowering/slot_stream.h"

#include <cstddef>
#include <vector>

namespace orrery::lowering {

/// Consecutive items of one layer or one end of the model; what passes have inserted among them does not count.
struct Run {
  std::size_t begin = 0, end = 0;  // into the stream
  ClassBuilder::Position at;

  /// A layer, prediction modules included, and not the embedding or a head.
  bool is_layer() const { return at.key_layer >= 0 && !is_mtp_head; }
  bool is_mtp_head = false;
};

/// The runs of a stream, in order. `num_layers`: of the model; positions behind it are those of prediction modules.
std::vector<Run> runs_of(const Stream& stream, std::int64_t num_layers);

}  // namespace orrery::lowering
