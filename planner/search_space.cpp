// SPDX-License-Identifier: Apache-2.0
#include "planner/search_space.h"

#include "base/check.h"
#include "program/legality.h"
#include "program/names.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::planner {
namespace {

std::vector<std::int64_t> divisors(std::int64_t n, std::int64_t at_most) {
  std::vector<std::int64_t> all;
  for (std::int64_t d = 1; d <= std::min(n, at_most); ++d) {
    if (n % d == 0) all.push_back(d);
  }
  return all;
}

/// Whether the model has anything that `module` could recompute: the rules of legality know.
bool applies(RecomputeModule module, const Model& model) {
  Strategy strategy;
  strategy.stages = even_stages(model.num_layers(), 1);
  strategy.stages.front().recompute = {module};
  return violations(model, strategy, {.seq = 1, .global_batch = 1}, 1).empty();
}

std::vector<std::set<RecomputeModule>> recompute_choices(const Model& model) {
  std::vector<std::set<RecomputeModule>> choices = {{}};
  for (const auto& [name, module] : kRecomputeModuleNames) {
    if (applies(module, model)) choices.push_back({module});
  }
  return choices;
}

/// Takes the last digit, of `choices.size()` values, off a mixed-radix number.
template <class Choices>
const auto& next_digit(std::int64_t& number, const Choices& choices) {
  const auto base = static_cast<std::int64_t>(choices.size());
  const auto digit = static_cast<std::size_t>(number % base);
  number /= base;
  return choices[digit];
}

}  // namespace

SearchSpace::SearchSpace(const Model& model, std::int64_t num_devices, Strategy base)
    : model_(model),
      num_devices_(num_devices),
      base_(std::move(base)),
      pp_(divisors(num_devices, model.num_layers())),
      ep_(model.moe ? divisors(model.moe->num_experts, num_devices) : std::vector<std::int64_t>{1}),
      recompute_(recompute_choices(model)),
      layouts_{{}, {.fewer_first = true}, {.fewer_last = true}, {.fewer_first = true, .fewer_last = true}} {
  CHECK(num_devices >= 1, num_devices);
  std::vector<StageLayout> listed = std::exchange(base_.stages, {});
  const auto num_listed = static_cast<std::int64_t>(listed.size());
  if (num_listed > 0 && listed != even_stages(model.num_layers(), num_listed)) {
    layouts_.push_back({.listed = std::move(listed)});
  }
}

std::int64_t SearchSpace::size() const {
  return static_cast<std::int64_t>(pp_.size() * ep_.size() * micro_batch_.size() * zero_.size() * zero_.size() *
                                   schedules_.size() * recompute_.size() * layouts_.size());
}

std::optional<Strategy> SearchSpace::at(std::int64_t index) const {
  CHECK(index >= 0 && index < size(), index, size());
  Strategy strategy = base_;
  const Layout& layout = next_digit(index, layouts_);
  const Recompute& recompute = next_digit(index, recompute_);
  strategy.schedule = next_digit(index, schedules_);
  strategy.zero_expert = next_digit(index, zero_);
  strategy.zero_dense = next_digit(index, zero_);
  strategy.micro_batch = next_digit(index, micro_batch_);
  strategy.ep = next_digit(index, ep_);
  strategy.pp = next_digit(index, pp_);
  if (repeats(strategy)) return std::nullopt;

  std::optional<std::vector<StageLayout>> stages = stages_of(layout, strategy.pp);
  if (!stages) return std::nullopt;
  for (StageLayout& stage : *stages) stage.recompute.insert(recompute.begin(), recompute.end());
  strategy.stages = std::move(*stages);
  return strategy;
}

// Sharding over one rank is no sharding.
bool SearchSpace::repeats(const Strategy& strategy) const {
  const std::int64_t ranks_of_stage = num_devices_ / strategy.pp;
  if (strategy.zero_dense > 0 && ranks_of_stage == 1) return true;
  return strategy.zero_expert > 0 && (!model_.moe || ranks_of_stage <= strategy.ep);
}

std::optional<std::vector<StageLayout>> SearchSpace::stages_of(const Layout& layout, std::int64_t pp) const {
  if (!layout.listed.empty()) {
    if (static_cast<std::int64_t>(layout.listed.size()) != pp) return std::nullopt;
    return layout.listed;
  }
  std::vector<StageLayout> stages = even_stages(model_.num_layers(), pp, layout.fewer_first, layout.fewer_last);
  if (!layout.fewer_first && !layout.fewer_last) return stages;
  // Where an end has no layer to spare, or there is no middle, this is a layout that came before.
  const bool same_as_one_end = layout.fewer_first && layout.fewer_last &&
                               (stages == even_stages(model_.num_layers(), pp, true, false) ||
                                stages == even_stages(model_.num_layers(), pp, false, true));
  if (same_as_one_end || stages == even_stages(model_.num_layers(), pp)) return std::nullopt;
  return stages;
}

std::vector<Certificate::Dimension> SearchSpace::domain() const {
  std::vector<std::string_view> schedules, recompute;
  for (const Schedule schedule : schedules_) schedules.push_back(name_of(schedule));
  for (const Recompute& modules : recompute_) {
    recompute.push_back(modules.empty() ? "none" : name_of(*modules.begin()));
  }
  std::string layouts = "even, one layer less on the first, on the last, on both";
  if (layouts_.size() > 4) layouts += ", as listed by the user";
  return {{.name = "pp", .domain = fmt::format("{}", fmt::join(pp_, " "))},
          {.name = "ep", .domain = fmt::format("{}", fmt::join(ep_, " "))},
          {.name = "dp", .domain = fmt::format("{} / pp", num_devices_)},
          {.name = "micro_batch", .domain = fmt::format("{}", fmt::join(micro_batch_, " "))},
          {.name = "zero_dense", .domain = fmt::format("{}", fmt::join(zero_, " "))},
          {.name = "zero_expert", .domain = fmt::format("{}", fmt::join(zero_, " "))},
          {.name = "schedule", .domain = fmt::format("{}", fmt::join(schedules, " "))},
          {.name = "recompute", .domain = fmt::format("{}", fmt::join(recompute, " "))},
          {.name = "stages", .domain = layouts}};
}

}  // namespace orrery::planner
