// SPDX-License-Identifier: Apache-2.0
// Alpha-beta parameters of collectives from measured times: what a call costs to start, from small messages, and the
// rate of the wire, from large ones. Few parameters on purpose: a table can then be used for other group sizes and
// links (docs/design/collectives.md).
#pragma once

#include "costmodel/calibration.h"

#include <span>
#include <string_view>
#include <vector>

namespace orrery::costmodel {

/// Bytes on the wire of one rank for each byte of nccl-tests' size, in a group of n ranks: 2(n-1)/n for all_reduce,
/// 1 for send_recv, else (n-1)/n. Source: nccl-tests PERFORMANCE.md.
double wire_factor(std::string_view op, std::int64_t ranks);

/// Up to here a message tells what a call costs to start.
inline constexpr Bytes kLargestStart = 64.0 * unit::kibibyte;

/// One fit for each (op, path) that was measured, sorted. Latency: least squares over messages up to kLargestStart,
/// weighted by 1 / time, so that residuals are relative; both parameters are kept non-negative. Rate: median over
/// messages of at least 1 MiB.
std::vector<CollectiveFit> fitted(std::span<const CollectiveMeasurement> points);

}  // namespace orrery::costmodel
