// SPDX-License-Identifier: Apache-2.0
// Times collectives by themselves, over a range of sizes that no single model has, and messages between two ranks,
// which training overlaps with everything else.
#pragma once

#include "base/units.h"
#include "executor/calibration/rank_samples.h"
#include "executor/comm/endpoint.h"

namespace orrery::executor {

/// Every group size that a layout can have (the divisors of the ranks), in blocks of neighbours that all work at the
/// same time; sizes from 32 bytes up to 64 MiB, the large ones only while there is time.
/// Requires: all ranks of the endpoint's segment call it, and no other groups were made.
RankSamples time_collectives(Endpoint& endpoint, Seconds max_time);

}  // namespace orrery::executor
