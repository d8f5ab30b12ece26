// SPDX-License-Identifier: Apache-2.0
#include "program/arrivals.h"

#include "base/check.h"

#include <algorithm>
#include <map>
#include <utility>

namespace orrery {
namespace {

/// The MoE layers of a class with the pairs that each rank sends in them.
std::map<std::int64_t, std::int64_t> pairs_of_layers(const StepProgram& program, const RankClass& rank_class) {
  std::map<std::int64_t, std::int64_t> pairs;
  for (const Tensor& tensor : rank_class.tensors) {
    switch (tensor.rows.kind) {
      case Rows::Kind::fixed:
      case Rows::Kind::routed:
        break;
      case Rows::Kind::received:
        pairs.try_emplace(tensor.layer, tensor.rows.count);
        break;
      case Rows::Kind::gathered:
        pairs.try_emplace(tensor.layer, tensor.rows.count / program.strategy.etp);
        break;
      case Rows::Kind::distinct:
        pairs.try_emplace(tensor.layer, pairs_per_rank(program.model, program.strategy, program.batch));
        break;
    }
  }
  return pairs;
}

/// Routings of one layer and micro-batch, each EP group asked once.
class LayerRouting {
 public:
  LayerRouting(const StepProgram& program, const LoadModel& load, const RoutingQuery& query)
      : program_(program), load_(load), query_(query) {}

  ArrivedRows at(const Coords& at) {
    const std::int64_t etp = program_.strategy.etp;
    ArrivedRows rows;
    for (std::int64_t peer = 0; peer < etp; ++peer) {
      const double received = of_group(at.edp * etp + peer).received(at.ep);
      rows.gathered += received;
      if (peer == at.etp) rows.received = received;
    }
    rows.distinct = of_group(at.edp * etp + at.etp).tokens_received(at.ep);
    rows.distinct_share = rows.received / static_cast<double>(query_.pairs_per_rank);
    return rows;
  }

 private:
  const RoutingMatrix& of_group(std::int64_t ep_group) {
    query_.ep_group = differs_by_group(load_) ? ep_group : 0;
    const auto [found, is_new] = groups_.try_emplace(query_.ep_group);
    if (is_new) found->second = placed_routing(load_, program_.experts, query_);
    return found->second;
  }

  const StepProgram& program_;
  const LoadModel& load_;
  RoutingQuery query_;
  std::map<std::int64_t, RoutingMatrix> groups_;
};

/// The layer under which a router at `position` records and is asked: tensors of prediction module i stand at two
/// positions of their own behind the last layer and its output, while keys and loads count it as layer L + i.
std::int64_t routed_layer(const Model& model, std::int64_t position) {
  const std::int64_t num_layers = model.num_layers();
  return position < num_layers ? position : num_layers + (position - num_layers - 1) / 2;
}

}  // namespace

std::int64_t pairs_per_rank(const Model& model, const Strategy& strategy, const BatchShape& batch) {
  CHECK(model.moe.has_value());
  const std::int64_t tokens = batch.seq * strategy.micro_batch / strategy.cp / (strategy.sp ? strategy.tp : 1);
  return tokens * model.moe->top_k;
}

FullestShare::FullestShare(const Model& model, const LoadModel& load, const ExpertPlacement& placement) {
  CHECK(!differs_by_group(load));
  if (is_balanced(load) || !model.moe) return;
  constexpr std::int64_t kPairs = std::int64_t{1} << 40;  // so many that whole pairs round nothing
  for (std::int64_t layer = 0; layer < model.num_layers(); ++layer) {
    std::vector<double>& shares = shares_.emplace_back();
    if (model.kind(layer) != LayerKind::moe) continue;
    shares = placed_routing(load, placement,
                            {.layer = layer, .num_experts = model.moe->num_experts, .pairs_per_rank = kPairs})
                 .pairs;
    for (double& share : shares) share /= static_cast<double>(kPairs);
  }
}

double FullestShare::of(const Strategy& strategy) const {
  double fullest = 1.0;
  if (shares_.empty()) return fullest;
  const auto num_ranks = static_cast<std::size_t>(strategy.ep);
  for (const StageLayout& stage : strategy.stages) {
    std::vector<double> received(num_ranks);
    double num_layers = 0.0;
    for (std::int64_t layer = stage.first_layer; layer < stage.first_layer + stage.num_layers; ++layer) {
      const std::vector<double>& shares = shares_.at(static_cast<std::size_t>(layer));
      if (shares.empty()) continue;
      const std::size_t num_local = shares.size() / num_ranks;
      for (std::size_t expert = 0; expert < shares.size(); ++expert) received[expert / num_local] += shares[expert];
      num_layers += 1.0;
    }
    const double most = *std::max_element(received.begin(), received.end());
    if (num_layers > 0.0) fullest = std::max(fullest, most * static_cast<double>(strategy.ep) / num_layers);
  }
  return fullest;
}

Arrivals Arrivals::same_everywhere(const ArrivedRows& rows) {
  Arrivals arrivals;
  arrivals.kind_ = Kind::same_everywhere;
  arrivals.everywhere_ = rows;
  return arrivals;
}

void Arrivals::set(std::int64_t layer, std::vector<ArrivedRows> of_micro_batch) {
  CHECK(kind_ != Kind::same_everywhere && layer >= 0 && !of_micro_batch.empty(), layer, of_micro_batch.size());
  kind_ = Kind::by_layer;
  const auto index = static_cast<std::size_t>(layer);
  if (index >= by_layer_.size()) by_layer_.resize(index + 1);
  by_layer_[index] = std::move(of_micro_batch);
}

const ArrivedRows& Arrivals::at(const Tensor& tensor) const {
  if (kind_ == Kind::same_everywhere) return everywhere_;
  const auto layer = static_cast<std::size_t>(tensor.layer);
  CHECK(tensor.layer >= 0 && layer < by_layer_.size() && !by_layer_[layer].empty(), tensor.layer);
  const std::vector<ArrivedRows>& rows = by_layer_[layer];
  return rows.size() == 1 ? rows.front() : rows.at(static_cast<std::size_t>(tensor.micro_batch));
}

double Arrivals::rows_of(const Tensor& tensor) const {
  const auto count = static_cast<double>(tensor.rows.count);
  if (kind_ == Kind::balanced) return count;
  switch (tensor.rows.kind) {
    case Rows::Kind::fixed:
    case Rows::Kind::routed:
      return count;
    case Rows::Kind::received:
      return at(tensor).received;
    case Rows::Kind::gathered:
      return at(tensor).gathered;
    case Rows::Kind::distinct:
      return at(tensor).distinct.value_or(at(tensor).distinct_share * count);
  }
  CHECK(false, static_cast<int>(tensor.rows.kind));
}

double Arrivals::bytes_of(const Tensor& tensor) const {
  return rows_of(tensor) * static_cast<double>(tensor.width) * static_cast<double>(size_of(tensor.dtype));
}

std::vector<RankId> distinct_ranks(const StepProgram& program, ClassId program_class, const LoadModel& load) {
  const RankId first(static_cast<std::int32_t>(program_class.value() * program.mesh.ranks_per_stage()));
  if (is_balanced(load)) return {first};
  return program.mesh.members(differs_by_group(load) ? Group::stage : Group::ep, first);
}

std::vector<Arrivals> arrivals_of(const StepProgram& program, std::span<const RankId> ranks, const LoadModel& load) {
  std::vector<Arrivals> arrivals(ranks.size());
  if (is_balanced(load)) return arrivals;
  const std::int64_t num_micro_batches = differs_by_group(load) ? program.num_micro_batches : 1;
  for (const auto& [layer, pairs] : pairs_of_layers(program, program.class_of(ranks.front()))) {
    std::vector<std::vector<ArrivedRows>> rows(ranks.size());
    for (std::int64_t micro_batch = 0; micro_batch < num_micro_batches; ++micro_batch) {
      LayerRouting routing(program, load,
                           {.layer = routed_layer(program.model, layer),
                            .micro_batch = micro_batch,
                            .group = program.mesh.ep(),
                            .num_experts = program.model.moe.value().num_experts,
                            .pairs_per_rank = pairs});
      for (std::size_t i = 0; i < ranks.size(); ++i) rows[i].push_back(routing.at(program.mesh.coords(ranks[i])));
    }
    for (std::size_t i = 0; i < ranks.size(); ++i) arrivals[i].set(layer, std::move(rows[i]));
  }
  return arrivals;
}

}  // namespace orrery
