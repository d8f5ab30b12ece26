// SPDX-License-Identifier: Apache-2.0
// Trains a probe on one rank and takes the times of its ops. The router decides as always, but what it decided is
// replaced by a balanced choice, so that every grouped product and exchange has exactly the rows that its shape says.
#pragma once

#include "base/units.h"
#include "executor/calibration/probe.h"
#include "executor/calibration/rank_samples.h"
#include "executor/comm/endpoint.h"
#include "executor/runtime/op_call.h"

#include <functional>
#include <string>

namespace orrery::executor {

/// Runs steps for about `max_time`: one to warm up (memory is touched, products are compiled), then at least one.
/// `observer`, if any, sees each op when it has ended. Requires: all ranks of the endpoint's segment call it, with the
/// same arguments, and no other groups were made. Throws: BackendError when a peer fails.
RankSamples run_probe(Endpoint& endpoint, const Probe& probe, Seconds max_time, const std::string& gemm,
                      const std::function<void(const OpCall&)>& observer = {});

}  // namespace orrery::executor
