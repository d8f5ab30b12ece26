// SPDX-License-Identifier: Apache-2.0
#include "program/load_model.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/rng.h"
#include "program/model.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <fmt/format.h>

namespace orrery {
namespace {

CounterRng rng_of_layer(std::uint64_t seed, std::int64_t layer) {
  return CounterRng(seed, static_cast<std::uint64_t>(layer));
}

/// Draws the logarithm of gamma(alpha) variates: for small alpha the variates themselves are below the least double.
/// Source: Marsaglia and Tsang, "A simple method for generating gamma variables" (2000), with their boost
/// gamma(alpha) = gamma(alpha + 1) * uniform^(1 / alpha) below 1.
class LogGammaSampler {
 public:
  LogGammaSampler(CounterRng rng, double alpha) : rng_(rng), alpha_(alpha) {}

  double next() {
    const double shape = alpha_ < 1.0 ? alpha_ + 1.0 : alpha_;
    const double boost = alpha_ < 1.0 ? std::log(positive_uniform()) / alpha_ : 0.0;
    const double d = shape - 1.0 / 3.0;
    const double c = 1.0 / std::sqrt(9.0 * d);
    while (true) {
      const double x = rng_.normal(index_++);
      const double root = 1.0 + c * x;
      if (root <= 0.0) continue;
      const double v = root * root * root;
      if (std::log(positive_uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) {
        return std::log(d * v) + boost;
      }
    }
  }

 private:
  double positive_uniform() { return 1.0 - rng_.uniform(index_++); }

  CounterRng rng_;
  double alpha_;
  std::uint64_t index_ = 0;
};

std::vector<double> popularity(const DirichletLoad& load, const RoutingQuery& query) {
  LogGammaSampler sampler(rng_of_layer(load.seed, query.layer), load.alpha);
  std::vector<double> weights(static_cast<std::size_t>(query.num_experts));
  for (double& weight : weights) weight = sampler.next();
  const double largest = *std::max_element(weights.begin(), weights.end());
  for (double& weight : weights) weight = std::exp(weight - largest);
  return weights;
}

std::vector<double> popularity(const ZipfLoad& load, const RoutingQuery& query) {
  std::vector<double> weights(static_cast<std::size_t>(query.num_experts));
  for (std::size_t rank = 0; rank < weights.size(); ++rank) {
    weights[rank] = std::pow(static_cast<double>(rank + 1), -load.exponent);
  }
  const CounterRng rng = rng_of_layer(load.seed, query.layer);
  for (std::size_t i = weights.size(); i-- > 1;) std::swap(weights[i], weights[rng.below(i, i + 1)]);
  return weights;
}

/// Splits `total` pairs in proportion to `weights` into whole numbers (largest remainders), so that sums are exact.
std::vector<double> apportion(const std::vector<double>& weights, std::int64_t total) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> shares(weights.size());
  std::vector<double> remainders(weights.size());
  std::int64_t rest = total;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double share = weights[i] / sum * static_cast<double>(total);
    shares[i] = std::floor(share);
    remainders[i] = share - shares[i];
    rest -= static_cast<std::int64_t>(shares[i]);
  }
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return remainders[a] > remainders[b]; });
  for (std::size_t i = 0; rest > 0; i = (i + 1) % order.size(), --rest) shares[order[i]] += 1.0;
  return shares;
}

RoutingMatrix same_for_all_sources(const RoutingQuery& query, const std::vector<double>& row) {
  RoutingMatrix out{.group = query.group, .num_experts = query.num_experts};
  out.pairs.reserve(row.size() * static_cast<std::size_t>(query.group));
  for (std::int64_t source = 0; source < query.group; ++source) {
    out.pairs.insert(out.pairs.end(), row.begin(), row.end());
  }
  return out;
}

struct Router {
  const RoutingQuery& query;

  RoutingMatrix operator()(const BalancedLoad&) const {
    const double share = static_cast<double>(query.pairs_per_rank) / static_cast<double>(query.num_experts);
    return same_for_all_sources(query, std::vector<double>(static_cast<std::size_t>(query.num_experts), share));
  }

  template <class AssumedLoad>
  RoutingMatrix operator()(const AssumedLoad& load) const {
    return same_for_all_sources(query, apportion(popularity(load, query), query.pairs_per_rank));
  }

  RoutingMatrix operator()(const std::shared_ptr<const RecordedLoad>& load) const {
    const auto found = load->matrices.find({query.layer, query.micro_batch, query.ep_group});
    const std::string where = fmt::format("recorded load: layer {}, micro-batch {}, EP group {}", query.layer,
                                          query.micro_batch, query.ep_group);
    if (found == load->matrices.end()) throw ConfigError(fmt::format("{}: expected a routing matrix, got none", where));
    const RoutingMatrix& matrix = found->second;
    if (matrix.group != query.group || matrix.num_experts != query.num_experts) {
      throw ConfigError(fmt::format("{}: expected {} ranks and {} experts, got {} and {}", where, query.group,
                                    query.num_experts, matrix.group, matrix.num_experts));
    }
    return matrix;
  }

  RoutingMatrix operator()(const std::shared_ptr<const PopularityLoad>& load) const {
    const auto found = load->layers.find(query.layer);
    const std::size_t known = found == load->layers.end() ? 0 : found->second.size();
    if (std::cmp_not_equal(known, query.num_experts)) {
      throw ConfigError(fmt::format("load by popularity: layer {}: expected the popularity of {} experts, got {}",
                                    query.layer, query.num_experts, known));
    }
    return same_for_all_sources(query, apportion(found->second, query.pairs_per_rank));
  }
};

}  // namespace

double RoutingMatrix::sent(std::int64_t source, std::int64_t destination) const {
  const std::int64_t num_local = num_experts / group;
  double sum = 0.0;
  for (std::int64_t e = destination * num_local; e < (destination + 1) * num_local; ++e) sum += at(source, e);
  return sum;
}

double RoutingMatrix::received(std::int64_t destination) const {
  double sum = 0.0;
  for (std::int64_t source = 0; source < group; ++source) sum += sent(source, destination);
  return sum;
}

std::optional<double> RoutingMatrix::tokens_received(std::int64_t destination) const {
  if (tokens.empty()) return std::nullopt;
  double sum = 0.0;
  for (std::int64_t source = 0; source < group; ++source) sum += tokens_sent(source, destination);
  return sum;
}

std::vector<double> RoutingMatrix::per_local_expert(std::int64_t destination) const {
  const std::int64_t num_local = num_experts / group;
  std::vector<double> rows(static_cast<std::size_t>(num_local), 0.0);
  for (std::int64_t source = 0; source < group; ++source) {
    for (std::int64_t e = 0; e < num_local; ++e) {
      rows[static_cast<std::size_t>(e)] += at(source, destination * num_local + e);
    }
  }
  return rows;
}

bool is_balanced(const LoadModel& load) { return std::holds_alternative<BalancedLoad>(load); }

bool differs_by_group(const LoadModel& load) {
  return std::holds_alternative<std::shared_ptr<const RecordedLoad>>(load);
}

PopularityLoad popularity_of(const RecordedLoad& load) {
  PopularityLoad popularity;
  for (const auto& [place, matrix] : load.matrices) {
    std::vector<double>& weights = popularity.layers[std::get<0>(place)];
    if (weights.empty()) weights.resize(static_cast<std::size_t>(matrix.num_experts));
    CHECK(std::cmp_equal(weights.size(), matrix.num_experts), std::get<0>(place), weights.size(), matrix.num_experts);
    for (std::size_t i = 0; i < matrix.pairs.size(); ++i) weights[i % weights.size()] += matrix.pairs[i];
  }
  return popularity;
}

std::string missing_popularity(const LoadModel& load, const Model& model) {
  const auto* popularity = std::get_if<std::shared_ptr<const PopularityLoad>>(&load);
  if (popularity == nullptr || !model.moe) return "";
  for (std::int64_t layer = 0; layer < model.num_layers(); ++layer) {
    if (model.kind(layer) != LayerKind::moe) continue;
    const auto found = (*popularity)->layers.find(layer);
    const std::size_t known = found == (*popularity)->layers.end() ? 0 : found->second.size();
    if (std::cmp_equal(known, model.moe->num_experts)) continue;
    return fmt::format("expected the popularity of {} experts for layer {}, got {}", model.moe->num_experts, layer,
                       known);
  }
  return "";
}

RoutingMatrix routing(const LoadModel& load, const RoutingQuery& query) {
  CHECK(query.group >= 1 && query.num_experts % query.group == 0, query.group, query.num_experts);
  return std::visit(Router{query}, load);
}

}  // namespace orrery
