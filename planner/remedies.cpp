// SPDX-License-Identifier: Apache-2.0
#include "planner/remedies.h"

#include "costmodel/memory.h"
#include "program/arrivals.h"
#include "program/legality.h"
#include "program/mesh.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

using Recompute = std::set<RecomputeModule>;

class Remedies {
 public:
  explicit Remedies(const Plan& plan) : plan_(plan), fullest_share_(plan.model, plan.load) {}

  /// Remembers `changed` if it fits. Returns whether it does.
  bool add(std::string change, const Strategy& changed) {
    const std::int64_t num_ranks = plan_.num_ranks();
    if (!violations(plan_.model, changed, plan_.batch, num_ranks).empty()) return false;
    const Device& device = plan_.cluster.groups.front().device;
    auto parameters = costmodel::MemoryModel::of(device);
    parameters.rho = fullest_share_.of(changed);
    const auto stages =
        costmodel::memory_per_stage(plan_.model, changed, plan_.batch, Mesh(changed, num_ranks), parameters);
    if (costmodel::why_it_does_not_fit(stages, device)) return false;
    found_.push_back({.change = std::move(change), .memory = costmodel::fullest(stages)});
    return true;
  }

  std::vector<Remedy> take() {
    std::stable_sort(found_.begin(), found_.end(),
                     [](const Remedy& a, const Remedy& b) { return a.memory < b.memory; });
    return std::move(found_);
  }

 private:
  const Plan& plan_;
  FullestShare fullest_share_;
  std::vector<Remedy> found_;
};

Strategy with_recompute(Strategy strategy, const Recompute& modules) {
  for (StageLayout& stage : strategy.stages) {
    stage.recompute = modules;
    stage.num_recompute_layers.reset();
  }
  return strategy;
}

}  // namespace

std::vector<Remedy> remedies(const Plan& plan) {
  const Strategy& now = plan.strategy;
  Remedies out(plan);
  for (std::int64_t ep = now.ep + 1; plan.model.moe && ep <= plan.model.moe->num_experts; ++ep) {
    Strategy changed = now;
    changed.ep = ep;
    if (out.add(fmt::format("ep {} instead of {}", ep, now.ep), changed)) break;
  }
  for (std::int64_t pp = now.pp + 1; pp <= plan.model.num_layers(); ++pp) {
    Strategy changed = now;
    changed.pp = pp;
    changed.stages = even_stages(plan.model.num_layers(), pp);
    changed = with_recompute(std::move(changed), now.stages.back().recompute);
    if (out.add(fmt::format("pp {} instead of {}, stages even", pp, now.pp), changed)) break;
  }
  for (std::int64_t size = now.micro_batch - 1; size >= 1; --size) {
    Strategy changed = now;
    changed.micro_batch = size;
    if (out.add(fmt::format("micro_batch {} instead of {}", size, now.micro_batch), changed)) break;
  }
  if (now.zero_dense == 0 || now.zero_expert == 0) {
    Strategy changed = now;
    changed.zero_dense = changed.zero_expert = 1;
    out.add("zero_dense 1 and zero_expert 1", changed);
  }
  if (now.schedule == Schedule::gpipe) {
    Strategy changed = now;
    changed.schedule = Schedule::one_f_one_b;
    out.add("schedule 1f1b instead of gpipe", changed);
  }
  for (const RecomputeModule module :
       {RecomputeModule::layernorm, RecomputeModule::moe_act, RecomputeModule::mla_up_proj, RecomputeModule::mlp,
        RecomputeModule::moe, RecomputeModule::full}) {
    const auto name = name_of(module);
    if (out.add(fmt::format("recompute {} in every stage", name), with_recompute(now, {module}))) break;
  }
  return out.take();
}

}  // namespace orrery::planner
