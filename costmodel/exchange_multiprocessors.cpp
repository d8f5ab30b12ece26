// SPDX-License-Identifier: Apache-2.0
#include "costmodel/exchange_multiprocessors.h"

#include "base/check.h"
#include "program/work.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

namespace orrery::costmodel {
namespace {

// GB/s that one multiprocessor reads and writes, a margin, and the fewest: as in the rule's source.
constexpr double kRead = 200.0, kWrite = 50.0, kMargin = 1.25, kFewest = 4.0;
// Of NVLink's rate, what is counted on (the same repository, deep_ep/utils/envs.py, get_nvlink_gbs).
constexpr double kScaleUpShare = 0.9;

/// For each copy that a rank gets: what multiprocessors read and write, and what the links carry.
struct Traffic {
  double read = 0.0, written = 0.0;
  double network = 0.0, scale_up = 0.0;
};

Traffic traffic_of(const TokenExchange& exchange) {
  const auto domains = static_cast<double>(exchange.num_domains);
  const double in_domain = static_cast<double>(exchange.num_ranks) / domains;
  const double to_ranks = expected_distinct(exchange.num_experts, exchange.top_k, exchange.num_ranks);
  Traffic out{.read = 1.0 / to_ranks, .written = 1.0, .scale_up = 1.0 - 1.0 / in_domain};
  if (exchange.num_domains == 1) return out;
  // Tokens are written for the network, those of the own domain past it, and read again where they are passed on.
  const double to_domains = expected_distinct(exchange.num_experts, exchange.top_k, exchange.num_domains);
  out.read += to_domains / to_ranks;
  out.written += (1.0 + to_domains / domains) / to_ranks;
  out.network = to_domains / to_ranks * (1.0 - 1.0 / domains);
  return out;
}

}  // namespace

std::optional<std::int64_t> needed_multiprocessors(const TokenExchange& exchange, std::int64_t num_sms) {
  CHECK(exchange.num_domains >= 1 && exchange.num_ranks % exchange.num_domains == 0, exchange.num_ranks);
  if (exchange.num_ranks == 1 || exchange.top_k_groups < exchange.num_groups) return std::nullopt;
  const Traffic traffic = traffic_of(exchange);
  double busy = 0.0;  // seconds of the slower link for a GB
  if (traffic.scale_up > 0.0) {
    busy = traffic.scale_up / (kScaleUpShare * exchange.scale_up.in(unit::gigabytes_per_second));
  }
  if (traffic.network > 0.0) {
    busy = std::max(busy, traffic.network / exchange.network.in(unit::gigabytes_per_second));
  }
  const double needed = std::ceil(kMargin * std::max(traffic.read / kRead, traffic.written / kWrite) / busy);
  const double even = 2.0 * std::ceil(std::max(needed, kFewest) / 2.0);
  return std::min(static_cast<std::int64_t>(even), num_sms);
}

std::optional<std::int64_t> needed_multiprocessors(const Cluster& cluster, const ExchangeShape& shape,
                                                   std::int64_t num_experts, std::span<const DeviceIndex> members) {
  if (!shape.two_level || members.size() < 2) return std::nullopt;
  std::map<std::int64_t, std::int64_t> ranks_of_domain;
  for (const DeviceIndex member : members) ++ranks_of_domain[cluster.locate(member).domain];
  const auto is_unlike = [&](const auto& domain) { return domain.second != ranks_of_domain.begin()->second; };
  if (std::ranges::any_of(ranks_of_domain, is_unlike)) return std::nullopt;
  const NodeGroup& group = cluster.groups[cluster.locate(members.front()).group];
  const bool over_network = ranks_of_domain.size() > 1;
  const bool is_known = group.device.num_sms && group.scale_up.per_device && (!over_network || group.nics);
  if (!is_known || (over_network && !group.nics->each)) return std::nullopt;
  TokenExchange exchange{.num_experts = num_experts,
                         .top_k = shape.top_k,
                         .num_ranks = std::ssize(members),
                         .num_domains = std::ssize(ranks_of_domain),
                         .num_groups = shape.num_groups,
                         .top_k_groups = shape.top_k_groups,
                         .scale_up = *group.scale_up.per_device};
  if (over_network) {
    exchange.network =
        *group.nics->each * (static_cast<double>(group.nics->per_node) / static_cast<double>(group.devices_per_node));
  }
  return needed_multiprocessors(exchange, *group.device.num_sms);
}

std::optional<double> held_by_exchanges(const CostModel& cost, const Model& model, const Strategy& strategy,
                                        std::span<const DeviceIndex> members) {
  if (!model.moe || members.size() < 2 || strategy.dispatcher != Dispatcher::two_level) return std::nullopt;
  const ExchangeShape shape{.two_level = true,
                            .top_k = model.moe->top_k,
                            .num_groups = model.moe->num_groups,
                            .top_k_groups = model.moe->top_k_groups};
  return cost.held_by(shape, model.moe->num_experts, members);
}

std::optional<double> held_by_exchanges(const CostModel& cost, const Model& model, const Strategy& strategy,
                                        const Mesh& mesh, const std::function<DeviceIndex(RankId)>& device_of) {
  if (strategy.dispatcher != Dispatcher::two_level) return std::nullopt;  // searches ask often
  std::vector<DeviceIndex> members;
  for (const RankId member : mesh.members(Group::ep, RankId(0))) members.push_back(device_of(member));
  return held_by_exchanges(cost, model, strategy, members);
}

}  // namespace orrery::costmodel
