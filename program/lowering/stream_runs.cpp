// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/stream_runs.h"

namespace orrery::lowering {

std::vector<Run> runs_of(const Stream& stream, std::int64_t num_layers) {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < stream.size(); ++i) {
    if (stream[i].inserted) continue;
    const ClassBuilder::Position& at = stream[i].at;
    if (runs.empty() || runs.back().at.layer != at.layer || runs.back().at.key_layer != at.key_layer) {
      // The input of module i is at an odd distance behind the last layer, its output and head at an even one.
      const bool is_mtp_head = at.key_layer >= num_layers && (at.layer - num_layers) % 2 == 0;
      runs.push_back({.begin = i, .end = i, .at = at, .is_mtp_head = is_mtp_head});
    }
    runs.back().end = i + 1;
  }
  return runs;
}

}  // namespace orrery::lowering
