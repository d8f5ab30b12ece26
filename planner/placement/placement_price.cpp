// SPDX-License-Identifier: Apache-2.0
#include "planner/placement/placement_price.h"

#include "base/check.h"
#include "costmodel/analytic_interpreter.h"
#include "costmodel/memory.h"
#include "program/arrivals.h"
#include "program/flat_buffer.h"
#include "program/lower.h"
#include "program/schedule.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <utility>

namespace orrery::planner {
namespace {

/// Experts of a layer on each rank of an EP group.
std::vector<std::set<std::int32_t>> by_rank(const ExpertPlacement& placement, std::int64_t layer,
                                            std::int64_t num_experts, std::int64_t ep) {
  const auto found = placement.layers.find(layer);
  const std::int64_t num_positions =
      found == placement.layers.end() ? num_experts : static_cast<std::int64_t>(found->second.size());
  std::vector<std::set<std::int32_t>> ranks(static_cast<std::size_t>(ep));
  for (std::int64_t at = 0; at < num_positions; ++at) {
    ranks[static_cast<std::size_t>(at / (num_positions / ep))].insert(placement.expert_at(layer, at));
  }
  return ranks;
}

/// The pipeline rank that has each layer; of DualPipe, where two have it, the lower one.
std::map<std::int64_t, std::int64_t> pipeline_rank_of_layers(const Strategy& s) {
  std::map<std::int64_t, std::int64_t> out;
  for (std::int64_t rank = 0; rank < s.pp; ++rank) {
    for (const std::int64_t stage : stages_of(s, rank)) {
      const StageLayout& layout = s.stages[static_cast<std::size_t>(stage)];
      for (std::int64_t i = 0; i < layout.num_layers; ++i) out.try_emplace(layout.first_layer + i, rank);
    }
  }
  return out;
}

/// One message of that size between the first rank of an EP group and its last: other nodes, if it has several.
Seconds message_time(const Plan& plan, const Mesh& mesh, const costmodel::CostModel& cost, Bytes size) {
  const auto whole = static_cast<std::int64_t>(size.in(unit::byte));
  if (whole == 0) return {};
  const std::vector<RankId> members = mesh.members(Group::ep, RankId(0));
  return cost
      .peer({.bytes = whole, .peer = Group::pp_next}, plan.device_of(members.front()), plan.device_of(members.back()))
      .alone();
}

class Pricing {
 public:
  Pricing(const Plan& plan, const ExpertPlacement& placement)
      : plan_(plan), placement_(placement), mesh_(plan.strategy, plan.num_ranks()) {
    const Strategy& s = plan.strategy;
    // States of one rank are those of all where nothing is sharded.
    shards_ = s.zero_expert >= 1 ? static_cast<double>(mesh_.size(sharding_group(Group::edp, s))) : 1.0;
    replicas_ = static_cast<double>(mesh_.size(Group::edp));
  }

  void add_move(const costmodel::CostModel& cost, PlacementPrice& price) const {
    const Strategy& s = plan_.strategy;
    const std::map<std::int64_t, std::int64_t> home = pipeline_rank_of_layers(s);
    std::map<std::pair<std::int64_t, std::size_t>, Bytes> received, summed;  // by pipeline rank and EP rank
    for (const auto& [layer, experts] : placement_.layers) {
      const StateBytes expert = expert_bytes(plan_, layer);
      const double weight_shards = s.zero_expert >= 3 ? shards_ : 1.0;
      const Bytes of_rank = expert.weights / weight_shards + (expert.masters + expert.moments) / shards_;
      const auto before = by_rank(plan_.experts, layer, plan_.model.moe->num_experts, s.ep);
      const auto after = by_rank(placement_, layer, plan_.model.moe->num_experts, s.ep);
      for (std::size_t rank = 0; rank < after.size(); ++rank) {
        const auto num_new = std::count_if(after[rank].begin(), after[rank].end(),
                                           [&](std::int32_t e) { return !before[rank].contains(e); });
        price.num_moved += num_new;
        price.moved += of_rank * (static_cast<double>(num_new * s.etp) * replicas_);
        received[{home.at(layer), rank}] += of_rank * static_cast<double>(num_new);
        summed[{home.at(layer), rank}] += gradients_of_copies(layer, after, rank);
      }
    }
    const auto most = [](const auto& of) {
      Bytes largest;
      for (const auto& [place, size] : of) largest = std::max(largest, size);
      return largest;
    };
    price.busiest = most(received);
    price.move = message_time(plan_, mesh_, cost, price.busiest);
    price.copies_step = message_time(plan_, mesh_, cost, most(summed));
  }

 private:
  /// What a rank receives in a step for experts that others have as well: their sums, after data-parallel ranks have
  /// added theirs. With n copies a ring brings 2 (n - 1) / n of a gradient to each.
  Bytes gradients_of_copies(std::int64_t layer, const std::vector<std::set<std::int32_t>>& ranks,
                            std::size_t rank) const {
    if (std::cmp_equal(placement_.layers.at(layer).size(), plan_.model.moe->num_experts)) return {};
    const auto elements =
        expert_bytes(plan_, layer).weights.in(unit::byte) / static_cast<double>(size_of(compute_dtype(plan_.strategy)));
    const Bytes gradient = bytes(elements * static_cast<double>(size_of(plan_.strategy.grad_wire_dtype)));
    Bytes sum;
    for (const std::int32_t expert : ranks[rank]) {
      const auto copies = static_cast<double>(
          std::count_if(ranks.begin(), ranks.end(), [&](const auto& held) { return held.contains(expert); }));
      sum += gradient * (2.0 * (copies - 1.0) / copies / shards_);
    }
    return sum;
  }

  const Plan& plan_;
  const ExpertPlacement& placement_;
  const Mesh mesh_;
  double shards_ = 1.0, replicas_ = 1.0;
};

}  // namespace

StateBytes expert_bytes(const Plan& plan, std::int64_t layer) {
  const Strategy& s = plan.strategy;
  StateBytes sum;
  for (const Parameter& p : layer_parameters(plan.model, layer, 0, 1)) {
    if (!p.is_expert()) continue;
    const auto elements = elements_on_rank(p, plan.model, s.tp, s.etp);
    const auto of = [&](std::int64_t each) { return bytes(static_cast<double>(elements * each)); };
    const std::int64_t moments = is_orthogonalised(p, s) ? 1 : 2;
    sum += {.weights = of(size_of(compute_dtype(s))),
            .masters = of(has_master(s) ? size_of(s.master_dtype) : 0),
            .moments = of(moments * size_of(s.moment_dtype))};
  }
  return sum;
}

Model with_copies(const Model& model, std::int64_t num_positions) {
  Model out = model;
  if (num_positions == model.moe->num_experts) return out;
  out.moe->num_experts = num_positions;
  if (num_positions % out.moe->num_groups != 0) out.moe->num_groups = out.moe->top_k_groups = 1;
  return out;
}

LoadModel load_of_positions(const LoadModel& load, const Model& model, const ExpertPlacement& placement) {
  const std::vector<std::int64_t> one_node = {0};
  PopularityLoad out;
  for (const auto& [layer, experts] : placement.layers) {
    const LayerLoad pairs = layer_load(load, layer, model.moe->num_experts, one_node);
    std::vector<double> copies(static_cast<std::size_t>(model.moe->num_experts), 0.0);
    for (const std::int32_t expert : experts) copies[static_cast<std::size_t>(expert)] += 1.0;
    for (const std::int32_t expert : experts) {
      out.layers[layer].push_back(pairs.of(expert) / copies[static_cast<std::size_t>(expert)]);
    }
  }
  return std::make_shared<const PopularityLoad>(std::move(out));
}

PlacementPrice price_of(const Plan& plan, const ExpertPlacement& placement, const LoadModel& load,
                        const std::shared_ptr<const costmodel::CostModel>& cost) {
  CHECK(plan.model.moe.has_value() && !differs_by_group(load));
  const bool has_copies =
      !placement.is_default() && std::cmp_greater(placement.layers.begin()->second.size(), plan.model.moe->num_experts);
  const Model model = has_copies
                          ? with_copies(plan.model, static_cast<std::int64_t>(placement.layers.begin()->second.size()))
                          : plan.model;
  const LoadModel of_step = has_copies ? load_of_positions(load, plan.model, placement) : load;
  StepProgram program = lower(model, plan.strategy, plan.batch, plan.num_ranks());
  if (!has_copies) program.experts = placement;
  const costmodel::AnalyticInterpreter interpreter(cost, plan.cluster, plan.device_of_rank);
  const Trace trace = interpreter.run(program, {.load = of_step, .sequences = plan.sequences, .steps_only = true});

  PlacementPrice price{.step = trace.steps.front().time, .extrapolated = trace.header.extrapolated};
  auto parameters = costmodel::MemoryModel::of(plan.cluster.groups.front().device, plan.framework);
  parameters.rho = FullestShare(model, of_step, program.experts).of(plan.strategy);
  price.memory =
      costmodel::fullest(costmodel::memory_per_stage(model, plan.strategy, plan.batch, program.mesh, parameters));
  Pricing(plan, placement).add_move(*cost, price);
  return price;
}

std::optional<double> break_even(const PlacementPrice& before, const PlacementPrice& after) {
  if (after.whole_step() >= before.whole_step()) return std::nullopt;
  return after.move / (before.whole_step() - after.whole_step());
}

}  // namespace orrery::planner
