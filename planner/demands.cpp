// SPDX-License-Identifier: Apache-2.0
#include "planner/demands.h"

#include "base/units_format.h"
#include "planner/conditions.h"
#include "planner/dimension_visit.h"
#include "planner/replan/neighbourhood.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::planner {
namespace {

/// "pp=4" for a condition on pp.
std::string value_in(const Strategy& strategy, const std::string& stated) {
  const std::string condition = normal_condition(stated);
  std::string out;
  Domains point = only(strategy);
  point.recompute = {strategy.stages.front().recompute};
  point.order = {strategy.order};
  visit_dimensions(point, [&](std::string_view name, const auto& values, auto text) {
    if (condition.substr(0, condition.find_first_of("<>!=")) == name) {
      out = fmt::format("{}={}", name, text(values.front()));
    }
  });
  return out;
}

/// In tenths of a GiB, rounded up: somebody will ask for as much.
std::string rounded_up(Bytes memory) { return fmt::format("{:.1f} GiB", std::ceil(memory / gib(0.1)) * 0.1); }

class Blame {
 public:
  Blame(const Domains& all, const Demands& demands, const SearchDomains& search)
      : all_(all), demands_(demands), search_(search) {}

  std::vector<std::string> single() const {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < demands_.conditions.size(); ++i) {
      Demands others = demands_;
      others.conditions.erase(others.conditions.begin() + static_cast<std::ptrdiff_t>(i));
      const auto outcome = run(others);
      const auto* found = std::get_if<SearchResult>(&outcome);
      if (found == nullptr) continue;
      const std::string& condition = demands_.conditions[i];
      out.push_back(
          fmt::format("\"{}\" ({} would do)", condition, value_in(found->ranked.front().strategy, condition)));
    }
    if (const auto enough = enough_memory(demands_.conditions)) {
      out.push_back(fmt::format("{} ({} would do)", memory_name(), *enough));
    }
    return out;
  }

  /// Demands are taken up again in turn, as long as something can run: those that are not have to go. Nothing if not
  /// even that is enough.
  std::vector<std::string> together() const {
    Demands kept;
    if (std::holds_alternative<Infeasible>(run(kept))) return {};
    std::vector<std::string> out;
    for (const std::string& condition : demands_.conditions) {
      Demands more = kept;
      more.conditions.push_back(condition);
      if (std::holds_alternative<SearchResult>(run(more))) {
        kept = std::move(more);
      } else {
        out.push_back(fmt::format("\"{}\"", condition));
      }
    }
    if (demands_.memory_limit) {
      out.push_back(fmt::format("{} ({} would do)", memory_name(), *enough_memory(kept.conditions)));
    }
    return out;
  }

 private:
  std::variant<SearchResult, Infeasible> run(const Demands& demands) const {
    Domains domains = all_;
    keep_where(domains, demands.conditions);
    return search_(domains, demands.memory_limit);
  }

  std::string memory_name() const { return fmt::format("--memory-limit {}", *demands_.memory_limit); }

  /// Memory that is enough for a lean plan under `conditions`; none without a limit, or if plans need more than a
  /// device has.
  std::optional<std::string> enough_memory(const std::vector<std::string>& conditions) const {
    if (!demands_.memory_limit) return std::nullopt;
    Domains domains = all_;
    keep_where(domains, conditions);
    Domains lean = domains;
    for (std::vector<int>* values :
         {&lean.zero_dense, &lean.zero_expert, &lean.offload_optimizer, &lean.offload_activations}) {
      *values = {values->back()};
    }
    const auto is_full = [](const auto& modules) { return modules.contains(RecomputeModule::full); };
    if (std::ranges::any_of(lean.recompute, is_full)) lean.recompute = {{RecomputeModule::full}};
    auto outcome = search_(lean, std::nullopt);
    if (std::holds_alternative<Infeasible>(outcome)) outcome = search_(domains, std::nullopt);
    const auto* found = std::get_if<SearchResult>(&outcome);
    if (found == nullptr) return std::nullopt;
    const auto memory = [](const RankedPlan& plan) { return plan.predictions.back().peak_memory; };
    return rounded_up(memory(*std::ranges::min_element(found->ranked, {}, memory)));
  }

  const Domains& all_;
  const Demands& demands_;
  const SearchDomains& search_;
};

}  // namespace

Infeasible blame_demands(Infeasible infeasible, const Domains& all, const Demands& demands,
                         const SearchDomains& search) {
  if (demands.empty()) return infeasible;
  const Blame blame(all, demands, search);
  if (const std::vector<std::string> single = blame.single(); !single.empty()) {
    infeasible.hint = fmt::format("something can run without {}", fmt::join(single, ", or without "));
  } else if (const std::vector<std::string> together = blame.together(); !together.empty()) {
    infeasible.hint = fmt::format("something can run without all of {}", fmt::join(together, ", "));
  }
  return infeasible;
}

}  // namespace orrery::planner
