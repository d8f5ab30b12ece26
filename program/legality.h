// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/cluster.h"
#include "program/model.h"
#include "program/step_program.h"
#include "program/strategy.h"

#include <cstdint>
#include <string>
#include <vector>

// Can this strategy split this model over this many devices? Each broken rule is reported with the strategy key that
// breaks it, what was expected, and the nearest legal values. Nothing
// here is about memory or time.

namespace orrery {

struct Violation {
  std::string key;       // JSON key of strategy/1, for example "ep"
  std::string expected;  // "expected a divisor of 256 (number of experts), got 48"
  std::string hint;      // "nearest divisors are 32 and 64"; may be empty
};

/// The largest degree that a file may state: a product of three cannot overflow.
inline constexpr std::int64_t kMostDegree = std::int64_t{1} << 20;

/// All rules that the strategy breaks on `num_devices` devices; empty: it can be lowered.
/// Requires: degrees of at most kMostDegree.
std::vector<Violation> violations(const Model& model, const Strategy& strategy, const BatchShape& batch,
                                  std::int64_t num_devices);

}  // namespace orrery
