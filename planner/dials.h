// SPDX-License-Identifier: Apache-2.0
// The keys of a strategy as things to turn, one at a time: who looks for what would be legal, or faster, goes through
// their values and asks others what becomes of the plan.
#pragma once

#include "program/plan.h"

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace orrery::planner {

/// What may be changed of a plan here.
struct Attempt {
  Strategy strategy;
  BatchShape batch;
};

using IntegerDial = std::function<std::int64_t&(Attempt&)>;

struct Choice {
  std::string name;  // of the value, as strategy/1 writes it
  std::function<void(Strategy&)> choose;
};

/// By key of strategy/1, and "global_batch".
const std::map<std::string, IntegerDial>& integer_dials();

/// By key; every value of each.
const std::map<std::string, std::vector<Choice>>& choice_dials();

/// Lays the stages of `s` evenly if it has another number of them than the plan, or prediction modules where the plan
/// has none. Whether that is possible.
bool lay_stages(const Plan& plan, Strategy& s);

}  // namespace orrery::planner
