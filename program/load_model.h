// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

// How many tokens the routers send to each expert. The program keeps MoE sizes symbolic (Rows in program/op.h);
// an interpreter resolves them here, per layer, micro-batch and EP group, so that assumed and recorded loads can be
// run on the same program.

namespace orrery {

struct Model;

/// (token, choice) pairs that each rank of one EP group sends to each expert: shape (group, num_experts).
struct RoutingMatrix {
  std::int64_t group = 0, num_experts = 0;
  std::vector<double> pairs = {};  // row-major: pairs[source * num_experts + expert]
  /// Tokens that a rank sends once to each rank that has one of their experts: shape (group, group), row-major. Pairs
  /// do not tell them, so they are there only where they were counted; else empty.
  std::vector<double> tokens = {};

  double at(std::int64_t source, std::int64_t expert) const {
    return pairs[static_cast<std::size_t>(source * num_experts + expert)];
  }
  /// Pairs that the experts of rank `destination` (experts are split in contiguous blocks) get from `source`.
  double sent(std::int64_t source, std::int64_t destination) const;
  /// Pairs that arrive at `destination` from all ranks of the group, itself included.
  double received(std::int64_t destination) const;
  /// Tokens that `source` sends to `destination`. Requires: they were counted.
  double tokens_sent(std::int64_t source, std::int64_t destination) const {
    return tokens.at(static_cast<std::size_t>(source * group + destination));
  }
  /// Tokens that arrive at `destination`, each once from each rank; nothing where nobody counted them.
  std::optional<double> tokens_received(std::int64_t destination) const;
  /// Pairs that arrive at each local expert of `destination`, size num_experts / group.
  std::vector<double> per_local_expert(std::int64_t destination) const;
};

struct BalancedLoad {};
/// Expert popularity of each layer drawn once from a symmetric Dirichlet distribution: small alpha, strong skew.
struct DirichletLoad {
  double alpha = 100.0;
  std::uint64_t seed = 1;
};
/// Expert popularity proportional to 1 / rank^exponent, the experts shuffled per layer.
struct ZipfLoad {
  double exponent = 1.0;
  std::uint64_t seed = 1;
};
/// What an execution recorded: a matrix for each (layer, micro-batch, index of the EP group in its pipeline stage).
struct RecordedLoad {
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, RoutingMatrix> matrices;
};

/// Popularity of the experts in each layer, in any unit: every rank sends its pairs in these proportions. What is left
/// of a recorded load when it shall hold for other layouts than the one that it was recorded with.
struct PopularityLoad {
  std::map<std::int64_t, std::vector<double>> layers;  // layer to the weight of each expert
};

using LoadModel = std::variant<BalancedLoad, DirichletLoad, ZipfLoad, std::shared_ptr<const RecordedLoad>,
                               std::shared_ptr<const PopularityLoad>>;

bool is_balanced(const LoadModel& load);
/// Whether the load of a layer differs between micro-batches and EP groups, as only a recorded one does.
bool differs_by_group(const LoadModel& load);

/// The recorded pairs of each layer and expert, summed over sources, micro-batches and EP groups.
/// Requires: matrices of one layer have the same number of experts.
PopularityLoad popularity_of(const RecordedLoad& load);

/// What `load` lacks to serve every MoE layer of `model`, as a sentence; "" if nothing.
std::string missing_popularity(const LoadModel& load, const Model& model);

/// One question to a load model: the routing of a micro-batch in one layer within one EP group.
struct RoutingQuery {
  std::int64_t layer = 0, micro_batch = 0, ep_group = 0;
  std::int64_t group = 1;  // ranks of the EP group
  std::int64_t num_experts = 0;
  std::int64_t pairs_per_rank = 0;  // tokens * top_k of one rank
};

/// The routing that `load` gives. Row sums are exactly pairs_per_rank for the assumed loads.
/// Throws: ConfigError if a recorded load does not hold the asked layer, micro-batch and group with these sizes, or if
/// popularities lack the layer or are not those of as many experts.
RoutingMatrix routing(const LoadModel& load, const RoutingQuery& query);

}  // namespace orrery
