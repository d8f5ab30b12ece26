// SPDX-License-Identifier: Apache-2.0
// What RCCL expects of its algorithms and protocols. It has NCCL's form (nccl_tuning.h) with tables for kinds of AMD
// nodes: fits to measurements, with a correction for each size. Within a node they are plausible. Between nodes a step
// of a ring has 209 or 320 us, which its corrections take back, so only whole times mean something there. Source of all
// formulas and tables: RCCL 2.21.5 (ROCm/rccl@0cbce2a), src/graph/tuning.cc. Left out: broadcast, reduce.
#pragma once

#include "base/units.h"
#include "costmodel/nccl_tuning.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace orrery::costmodel {

/// Kinds of nodes. `mi250`: 16 dies in eight modules, RCCL's fourth table (that it is theirs is inferred: LL128 is on
/// by default on that family alone). `mi300`: eight GPUs, each linked with each, its fifth.
enum class RcclNode : std::uint8_t { mi250, mi300 };

struct RcclGroup {
  std::int64_t num_ranks = 0, num_nodes = 1;
  RcclNode node = RcclNode::mi300;
  BytesPerSecond rate;           // of all channels
  Seconds network_latency = {};  // instead of the table's; zero: the table's
};

/// Nothing where RCCL does not use the pair: trees reduce only, those of `mi300` not with Simple on one node; LL128 on
/// `mi250` only; no NVLS, no PAT. `share` as in NcclEstimate.
/// Requires: at least two ranks, at most one node for each; a positive rate.
std::optional<NcclEstimate> rccl_estimate(const RcclGroup& group, NcclOp op, NcclAlgorithm algorithm,
                                          NcclProtocol protocol, Bytes size);

/// Of every pair that RCCL may use. Never empty.
std::vector<NcclEstimate> rccl_estimates(const RcclGroup& group, NcclOp op, Bytes size);

}  // namespace orrery::costmodel
