// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "costmodel/cached_cost_model.h"
#include "costmodel/piece_times.h"

namespace orrery::planner {

/// What one thread of a search asks: the answers of a cost model, and what pieces of stages take by them, each once.
struct WorkerCosts {
  costmodel::CachedCostModel cost;
  costmodel::PieceTimes pieces;
};

}  // namespace orrery::planner
