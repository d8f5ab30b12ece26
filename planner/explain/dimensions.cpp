// SPDX-License-Identifier: Apache-2.0
#include "planner/explain/dimensions.h"

#include "planner/strategy_text.h"
#include "program/names.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

using Kind = DimensionKind;

std::string text_of(bool x) { return x ? "on" : "off"; }
std::string text_of(std::int64_t x) { return std::to_string(x); }
std::string text_of(int x) { return std::to_string(x); }
std::string text_of(const std::string& x) { return x; }
std::string text_of(const std::optional<double>& x) { return x ? fmt::format("{}", *x) : "none"; }

template <class T>
StrategyDimension field(const std::string& name, Kind kind, T Strategy::* member) {
  return {.name = name,
          .kind = kind,
          .text = [member](const Strategy& s) { return text_of(s.*member); },
          .copy = [member](Strategy& into, const Strategy& from) { into.*member = from.*member; }};
}

template <class E, std::size_t N>
StrategyDimension choice(const std::string& name, Kind kind, E Strategy::* member, const Named<E> (&names)[N]) {
  StrategyDimension out{.name = name, .kind = kind, .text = {}, .copy = {}};
  out.text = [member, &names](const Strategy& s) { return std::string(name_of(names, s.*member)); };
  out.copy = [member](Strategy& into, const Strategy& from) { into.*member = from.*member; };
  return out;
}

StrategyDimension overlap(const std::string& name, bool Overlap::* member) {
  return {.name = "overlap/" + name,
          .kind = Kind::overlap,
          .text = [member](const Strategy& s) { return text_of(s.overlap.*member); },
          .copy = [member](Strategy& into, const Strategy& from) { into.overlap.*member = from.overlap.*member; }};
}

/// Recomputation of every stage, in one word if it is the same for all.
std::string recompute_of(const Strategy& s) {
  std::string text = recompute_text(s);
  const auto other = std::find_if(s.stages.begin(), s.stages.end(), [&](const StageLayout& stage) {
    return stage.recompute != s.stages.front().recompute || stage.num_recompute_layers;
  });
  return other == s.stages.end() ? text : text + " in some layers";
}

std::vector<StageLayout> without_recompute(std::vector<StageLayout> stages) {
  for (StageLayout& stage : stages) {
    stage.recompute.clear();
    stage.num_recompute_layers.reset();
  }
  return stages;
}

struct Recompute {
  std::set<RecomputeModule> modules;
  std::optional<std::int64_t> layers;
  bool operator==(const Recompute&) const = default;
};

std::vector<Recompute> recompute_per_stage(const Strategy& s) {
  std::vector<Recompute> out;
  for (const StageLayout& stage : s.stages) out.push_back({stage.recompute, stage.num_recompute_layers});
  return out;
}

const StrategyDimension& layout() {
  static const StrategyDimension dimension{.name = "stages", .kind = Kind::pipeline, .text = layout_text, .copy = {}};
  return dimension;
}

const StrategyDimension& recompute() {
  static const StrategyDimension dimension{
      .name = "recompute", .kind = Kind::recompute, .text = recompute_of, .copy = {}};
  return dimension;
}

/// All but what lies in the stages.
const std::vector<StrategyDimension>& plain_dimensions() {
  static const std::vector<StrategyDimension> dimensions = {
      field("tp", Kind::degrees, &Strategy::tp),
      field("sp", Kind::degrees, &Strategy::sp),
      field("cp", Kind::degrees, &Strategy::cp),
      choice("cp_kind", Kind::degrees, &Strategy::cp_kind, kContextParallelNames),
      field("ep", Kind::degrees, &Strategy::ep),
      field("etp", Kind::degrees, &Strategy::etp),
      field("order", Kind::degrees, &Strategy::order),
      field("pp", Kind::pipeline, &Strategy::pp),
      field("vpp", Kind::pipeline, &Strategy::vpp),
      choice("schedule", Kind::pipeline, &Strategy::schedule, kScheduleNames),
      choice("mtp", Kind::pipeline, &Strategy::mtp, kMtpNames),
      field("zero_dense", Kind::sharding, &Strategy::zero_dense),
      field("zero_expert", Kind::sharding, &Strategy::zero_expert),
      field("num_optimizer_instances", Kind::sharding, &Strategy::num_optimizer_instances),
      field("micro_batch", Kind::batch, &Strategy::micro_batch),
      choice("dispatcher", Kind::experts, &Strategy::dispatcher, kDispatcherNames),
      field("capacity_factor", Kind::experts, &Strategy::capacity_factor),
      overlap("dp_buckets", &Overlap::dp_buckets),
      overlap("tp", &Overlap::tp),
      overlap("ep_batch_level", &Overlap::ep_batch_level),
      overlap("delayed_wgrad", &Overlap::delayed_wgrad),
      overlap("shared_expert", &Overlap::shared_expert),
      choice("precision", Kind::types, &Strategy::precision, kFloatNames),
      choice("fp8_recipe", Kind::types, &Strategy::fp8_recipe, kFp8RecipeNames),
      field("fp8_activation_input", Kind::types, &Strategy::fp8_activation_input),
      choice("optimizer", Kind::types, &Strategy::optimizer, kOptimizerNames),
      choice("master_dtype", Kind::types, &Strategy::master_dtype, kFloatNames),
      choice("moment_dtype", Kind::types, &Strategy::moment_dtype, kFloatNames),
      choice("grad_dtype", Kind::types, &Strategy::grad_dtype, kGradientNames),
      choice("grad_wire_dtype", Kind::types, &Strategy::grad_wire_dtype, kGradientNames),
      field("cuda_graphs", Kind::memory, &Strategy::cuda_graphs),
      field("offload_optimizer", Kind::memory, &Strategy::offload_optimizer),
      field("offload_activations", Kind::memory, &Strategy::offload_activations),
  };
  return dimensions;
}

/// `stages` recompute what those of `said` do: stage by stage, or all alike.
bool recompute_like(std::vector<StageLayout>& stages, const Strategy& said) {
  const std::vector<Recompute> wanted = recompute_per_stage(said);
  const bool alike =
      std::all_of(wanted.begin(), wanted.end(), [&](const Recompute& one) { return one == wanted.front(); });
  if (stages.size() != wanted.size() && !alike) return false;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const Recompute& one = alike ? wanted.front() : wanted[i];
    stages[i].recompute = one.modules;
    stages[i].num_recompute_layers = one.layers;
    if (one.layers && *one.layers > stages[i].num_layers) stages[i].num_recompute_layers.reset();
  }
  return true;
}

}  // namespace

StrategyMix::StrategyMix(const Strategy& first, const Strategy& second) : first_(first), second_(second) {
  for (const StrategyDimension& dimension : plain_dimensions()) {
    Strategy mixed = first;
    dimension.copy(mixed, second);
    if (mixed != first) dimensions_.push_back(&dimension);
  }
  if (without_recompute(first.stages) != without_recompute(second.stages)) dimensions_.push_back(&layout());
  const bool same =
      recompute_of(first) == recompute_of(second) &&
      (recompute_per_stage(first) == recompute_per_stage(second) || first.stages.size() != second.stages.size());
  if (!same) dimensions_.push_back(&recompute());
}

std::string StrategyMix::change_of(std::size_t dimension) const {
  const StrategyDimension& one = *dimensions_[dimension];
  return fmt::format("{} {} -> {}", one.name, one.text(first_), one.text(second_));
}

std::optional<Strategy> StrategyMix::strategy(std::uint64_t from_second) const {
  Strategy mixed = first_;
  const Strategy* stages_of = &first_;
  const Strategy* recompute_of_whom = &first_;
  const auto all = (std::uint64_t{1} << dimensions_.size()) - 1;
  if ((from_second & all) == all) return second_;
  for (std::size_t i = 0; i < dimensions_.size(); ++i) {
    if ((from_second >> i & 1) == 0) continue;
    if (dimensions_[i] == &layout()) {
      stages_of = &second_;
    } else if (dimensions_[i] == &recompute()) {
      recompute_of_whom = &second_;
    } else {
      dimensions_[i]->copy(mixed, second_);
    }
  }
  mixed.stages = stages_of->stages;
  // Where it is no dimension of its own, what is recomputed goes with the stages that recompute it.
  if (std::ranges::find(dimensions_, &recompute()) == dimensions_.end()) return mixed;
  if (stages_of != recompute_of_whom && !recompute_like(mixed.stages, *recompute_of_whom)) return std::nullopt;
  return mixed;
}

}  // namespace orrery::planner
