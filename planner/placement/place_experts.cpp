// SPDX-License-Identifier: Apache-2.0
#include "planner/placement/place_experts.h"

#include "base/errors.h"
#include "base/parallel.h"
#include "planner/placement/place_layer.h"
#include "program/mesh.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <span>
#include <utility>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

/// A way to place: what a pair that stays on its node is worth, and whether groups stay whole.
struct Way {
  const char* name;
  double crossing_weight;
  bool whole_groups;
};
constexpr Way kWays[] = {{"ranks equally full", 0.0, false},
                         {"ranks before nodes", 0.5, false},
                         {"nodes before ranks", 4.0, false},
                         {"groups whole on nodes", 0.0, true}};

/// The node of each rank of the first EP group, counted from 0 in its order.
std::vector<std::int64_t> node_of_rank(const Plan& plan) {
  const Mesh mesh(plan.strategy, plan.num_ranks());
  std::vector<std::int64_t> nodes;
  std::map<std::int64_t, std::int64_t> number;
  for (const RankId rank : mesh.members(Group::ep, RankId(0))) {
    const std::int64_t node = plan.cluster.locate(plan.device_of(rank)).node;
    nodes.push_back(number.try_emplace(node, static_cast<std::int64_t>(number.size())).first->second);
  }
  return nodes;
}

class Placer {
 public:
  explicit Placer(const PlacementProblem& problem)
      : plan_(problem.plan), shape_(shape_of(plan_, problem.num_copies)), layers_(layers_with_experts(plan_.model)) {
    const std::vector<std::int64_t> nodes = node_of_rank(plan_);
    for (const std::int64_t layer : layers_) {
      loads_.push_back(layer_load(problem.load, layer, shape_.num_experts, nodes));
    }
  }

  /// As it is now.
  PlacementOption unmoved() const {
    std::vector<std::vector<std::int32_t>> placed;
    for (const std::int64_t layer : layers_) placed.push_back(now(layer));
    return {.name = "order of the plan", .placement = plan_.experts, .score = score(placed)};
  }

  PlacementOption place(const Way& way) const {
    PlacementShape shape = shape_;
    if (way.whole_groups) shape.num_groups = plan_.model.moe->num_groups;
    std::vector<std::vector<std::int32_t>> placed(layers_.size());
    parallel_for(static_cast<std::int64_t>(layers_.size()), [&](std::int64_t i, int) {
      const auto index = static_cast<std::size_t>(i);
      placed[index] = place_layer(loads_[index], shape, way.crossing_weight, now(layers_[index]));
    });
    PlacementOption option{.name = way.name, .placement = {}, .score = score(placed)};
    for (std::size_t i = 0; i < layers_.size(); ++i) option.placement.layers[layers_[i]] = std::move(placed[i]);
    return option;
  }

  /// Whether groups of experts fit on nodes, so that tokens that keep to some groups keep to as many nodes.
  bool has_groups() const {
    const std::int64_t groups = plan_.model.moe->num_groups;
    return groups > 1 && shape_.num_nodes > 1 && groups % shape_.num_nodes == 0;
  }
  bool needs_groups() const { return has_groups() && plan_.strategy.dispatcher == Dispatcher::two_level; }

 private:
  std::vector<std::int32_t> now(std::int64_t layer) const {
    std::vector<std::int32_t> experts;
    for (std::int64_t at = 0; at < shape_.num_experts; ++at) experts.push_back(plan_.experts.expert_at(layer, at));
    return experts;
  }

  PlacementScore score(const std::vector<std::vector<std::int32_t>>& placed) const {
    PlacementScore sum{.fullest = 0.0};
    const MoeBlock& moe = *plan_.model.moe;
    double crossing = 0.0, total = 0.0;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const PlacedLayer layer(loads_[i], shape_, placed[i]);
      sum.fullest += layer.fullest() / static_cast<double>(layers_.size());
      sum.worst = std::max(sum.worst, layer.fullest());
      sum.most_nodes = std::max(sum.most_nodes, layer.most_nodes(moe.num_groups, moe.top_k_groups, moe.top_k));
      crossing += layer.crossing() * loads_[i].total();
      total += loads_[i].total();
    }
    sum.crossing = crossing / total;
    return sum;
  }

  const Plan& plan_;
  const PlacementShape shape_;
  const std::vector<std::int64_t> layers_;
  std::vector<LayerLoad> loads_;
};

/// Sums of whole pairs, but for rounding.
constexpr double kSame = 1e-9;

bool is_as_good(const PlacementScore& a, const PlacementScore& b) {
  return a.fullest <= b.fullest + kSame && a.crossing <= b.crossing + kSame && a.most_nodes <= b.most_nodes;
}

}  // namespace

std::vector<std::int64_t> layers_with_experts(const Model& model) {
  std::vector<std::int64_t> layers;
  for (std::int64_t layer = 0; layer < model.num_layers(); ++layer) {
    if (model.kind(layer) == LayerKind::moe) layers.push_back(layer);
  }
  return layers;
}

PlacementShape shape_of(const Plan& plan, std::int64_t num_copies) {
  if (!plan.model.moe) throw ConfigError(fmt::format("{}: expected a model with experts", plan.model.name));
  PlacementShape shape{.num_experts = plan.model.moe->num_experts, .num_ranks = plan.strategy.ep};
  if (shape.num_ranks == 1)
    throw ConfigError("expected a plan with expert parallelism: with EP 1 a rank has all experts");
  shape.num_positions = shape.num_experts + num_copies;
  if (num_copies % shape.num_ranks != 0) {
    throw ConfigError(fmt::format("redundant experts: expected a multiple of the {} ranks of an EP group, got {}",
                                  shape.num_ranks, num_copies));
  }
  const std::vector<std::int64_t> nodes = node_of_rank(plan);
  shape.num_nodes = *std::max_element(nodes.begin(), nodes.end()) + 1;
  for (std::size_t rank = 0; rank < nodes.size(); ++rank) {
    if (shape.num_ranks % shape.num_nodes == 0 &&
        nodes[rank] == static_cast<std::int64_t>(rank) / (shape.num_ranks / shape.num_nodes)) {
      continue;
    }
    throw ConfigError("placement: expected EP groups whose nodes have as many ranks each, one node after the other");
  }
  return shape;
}

std::vector<PlacementOption> placement_options(const PlacementProblem& problem) {
  const Placer placer(problem);
  std::vector<PlacementOption> options;
  if (problem.num_copies == 0) options.push_back(placer.unmoved());
  std::vector<PlacementOption> placed;
  for (const Way& way : kWays) {
    if (way.whole_groups ? placer.has_groups() : !placer.needs_groups()) placed.push_back(placer.place(way));
  }
  for (std::size_t i = 0; i < placed.size(); ++i) {
    bool is_beaten = false;
    for (std::size_t other = 0; other < placed.size(); ++other) {
      const bool is_good = other != i && is_as_good(placed[other].score, placed[i].score);
      const bool is_equal = is_good && is_as_good(placed[i].score, placed[other].score);
      is_beaten = is_beaten || (is_good && (!is_equal || other < i));  // of equal ones the first
    }
    if (!is_beaten) options.push_back(placed[i]);
  }
  return options;
}

}  // namespace orrery::planner
