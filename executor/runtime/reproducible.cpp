// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/reproducible.h"

#include "base/errors.h"
#include "program/names.h"

#include <utility>

#include <fmt/format.h>

namespace orrery::executor {

std::vector<std::string> why_not_reproducible(const Strategy& s) {
  std::vector<std::string> reasons;
  const auto one = [&](std::string_view degree, std::int64_t value, std::string_view why) {
    if (value > 1) reasons.push_back(fmt::format("expected {} 1, since {}, got {}", degree, why, value));
  };
  one("tp", s.tp, "its ranks round parts of a product's sums before they are added");
  one("etp", s.etp, "its ranks round parts of a product's sums before they are added");
  one("cp", s.cp, "its ranks round parts of a softmax's sums before they are added");
  if (s.ep > 1 && s.dispatcher != Dispatcher::all_to_all) {
    reasons.push_back(
        fmt::format("expected dispatcher \"all_to_all\", since others add up a token's rows where its experts are, got "
                    "\"{}\"",
                    name_of(kDispatcherNames, s.dispatcher)));
  }
  if (s.capacity_factor) {
    reasons.push_back(fmt::format(
        "expected no capacity_factor, since places are counted on each rank and in each micro-batch, got {}",
        *s.capacity_factor));
  }
  return reasons;
}

Plan reproducible(Plan plan) {
  std::vector<Problem> problems;
  for (const std::string& reason : why_not_reproducible(plan.strategy)) {
    problems.push_back({.message = "--reproducible: " + reason});
  }
  if (!problems.empty()) throw ConfigError(std::move(problems));
  plan.strategy.grad_dtype = plan.strategy.grad_wire_dtype = DType::i64;
  return plan;
}

}  // namespace orrery::executor
