// SPDX-License-Identifier: Apache-2.0
// Strategies that are a pipeline and nothing else: for tests of orders.
#pragma once

#include "program/strategy.h"

#include <cstdint>

namespace orrery::costmodel {

inline Strategy shape_of(Schedule schedule, std::int64_t pp, std::int64_t vpp) {
  Strategy strategy;
  strategy.schedule = schedule;
  strategy.pp = pp;
  strategy.vpp = vpp;
  return strategy;
}

}  // namespace orrery::costmodel
