// SPDX-License-Identifier: Apache-2.0
// What the routers of an execution did, for predicting the same steps again: the error that is left then is not that
// of the assumed load.
#pragma once

#include "program/load_model.h"
#include "traces/trace.h"

#include <cstdint>
#include <string>

namespace orrery::cli {

/// The routing of the last step of `trace`. Requires: a trace that recorded loads.
LoadModel recorded_load(const Trace& trace);

/// What the experts of each layer got in that step, whichever rank they were on: holds for any layout.
/// Throws: ConfigError if `path` is no trace, or one without load records.
LoadModel popularity_load(const std::string& path);

/// The matrices themselves if they are those of EP groups of `ep` ranks, else what the experts got.
/// Throws: as popularity_load().
LoadModel load_by_source(const std::string& path, std::int64_t ep);

/// Rows that arrived at the experts of the fullest rank in one step, all layers and micro-batches together, over the
/// mean of its EP group; the largest of all steps but the first, which is warm-up. 1 without records.
double fullest_rank(const Trace& trace);

}  // namespace orrery::cli
