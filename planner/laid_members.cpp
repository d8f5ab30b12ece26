// SPDX-License-Identifier: Apache-2.0
#include "planner/laid_members.h"

#include "base/parallel.h"
#include "planner/bottleneck_stages.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

namespace orrery::planner {
namespace {

constexpr double kRounding = 1e-9;

/// Plans that differ in their stages alone.
struct Alike {
  Strategy strategy;  // without stages
  std::vector<const Member*> plans;
  std::optional<Member> laid = {};
};

struct SameOperators {
  Strategy operators;
  std::vector<Alike> plans;
};

std::vector<SameOperators> grouped(std::span<const Member* const> plans) {
  std::vector<SameOperators> groups;
  for (const Member* plan : plans) {
    if (plan->strategy.num_stages() == 1) continue;
    Strategy operators = operators_of(plan->strategy), strategy = plan->strategy;
    strategy.stages.clear();
    auto group = std::ranges::find(groups, operators, &SameOperators::operators);
    if (group == groups.end()) group = groups.insert(group, {.operators = std::move(operators), .plans = {}});
    auto alike = std::ranges::find(group->plans, strategy, &Alike::strategy);
    if (alike == group->plans.end()) {
      alike = group->plans.insert(alike, {.strategy = std::move(strategy), .plans = {}});
    }
    alike->plans.push_back(plan);
  }
  return groups;
}

void lay(Alike& alike, BottleneckStages& stages, OperatorTable& table) {
  BottleneckStages::Laid laid = stages.lay(alike.strategy);
  if (laid.stages.empty()) return;
  const StageTimes times = stage_times(table, laid.stages);
  for (const Member* plan : alike.plans) {
    const StageTimes known = stage_times(table, plan->strategy.stages);
    const auto is_as_good = [](Seconds a, Seconds b) { return a <= b * (1.0 + kRounding); };
    if (is_as_good(known.longest, times.longest) && is_as_good(known.sum, times.sum)) return;
  }
  alike.laid = *alike.plans.front();
  alike.laid->strategy.stages = std::move(laid.stages);
  alike.laid->memory = laid.memory;
  alike.laid->bound = alike.laid->work_bound;
}

}  // namespace

LaidMembers lay_anew(const FamilyContext& context, std::span<const Member* const> plans, std::span<WorkerCosts> costs) {
  std::vector<SameOperators> groups = grouped(plans);
  parallel_for(std::ssize(groups), [&](std::int64_t i, int worker) {
    SameOperators& group = groups[static_cast<std::size_t>(i)];
    WorkerCosts& asked = costs[static_cast<std::size_t>(worker)];
    OperatorTable table(context.model, group.operators, context.batch, context.num_devices, asked.cost, context.densest,
                        &asked.pieces);
    BottleneckStages stages(context, group.operators.mtp, table);
    for (Alike& alike : group.plans) lay(alike, stages, table);
  });
  LaidMembers out;
  for (SameOperators& group : groups) {
    for (Alike& alike : group.plans) {
      ++out.num_laid;
      if (alike.strategy.vpp > 1 || alike.strategy.schedule == Schedule::dualpipe) ++out.num_approximate;
      if (alike.laid) out.members.push_back(std::move(*alike.laid));
    }
  }
  return out;
}

}  // namespace orrery::planner
