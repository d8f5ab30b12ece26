// SPDX-License-Identifier: Apache-2.0
// How many multiprocessors an exchange of tokens needs so that they are not what limits it. Its kernels read tokens and
// write copies for the network and for the ranks of a domain, so much of each as the router makes of a token, and have
// to keep up with the slower of the two links. Source: the rule by which DeepEP V2 sizes its own kernels
// (deepseek-ai/DeepEP@0297fc80, deep_ep/buffers/elastic.py, get_theoretical_num_sms), whose published table it gives.
// The width of a token drops out: it is in what is read, written and sent alike.
#pragma once

#include "base/units.h"
#include "costmodel/cost_model.h"
#include "program/cluster.h"
#include "program/mesh.h"
#include "program/model.h"
#include "program/op.h"
#include "program/strategy.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

namespace orrery::costmodel {

struct TokenExchange {
  std::int64_t num_experts = 0, top_k = 0;
  std::int64_t num_ranks = 0, num_domains = 0;  // of the group, equally many ranks in each; NVLink joins a domain
  /// Node-limited routing: equal groups of experts, and how many of them a token may use.
  std::int64_t num_groups = 1, top_k_groups = 1;
  BytesPerSecond network = {}, scale_up = {};  // of one rank, one way; that of the network where there are domains
};

/// Beside compute, which has the others; never more than `num_sms`. Nothing where the rule's authors exclude it, with
/// node-limited routing, and where nothing is sent.
/// Requires: num_domains divides num_ranks, num_ranks divides num_experts.
std::optional<std::int64_t> needed_multiprocessors(const TokenExchange& exchange, std::int64_t num_sms);

/// The same of an exchange among `members`. Nothing also where tokens are not sent once (ExchangeShape::two_level),
/// where domains hold unlike numbers of members, and where the cluster does not say how fast its links are.
std::optional<std::int64_t> needed_multiprocessors(const Cluster& cluster, const ExchangeShape& shape,
                                                   std::int64_t num_experts, std::span<const DeviceIndex> members);

/// What exchanges of a plan hold, of which the first expert-parallel group has these members: a library is told once,
/// for all groups. Nothing: as many as other communications, or there are none.
std::optional<double> held_by_exchanges(const CostModel& cost, const Model& model, const Strategy& strategy,
                                        std::span<const DeviceIndex> members);
/// The same, of ranks that lie where `device_of` says.
std::optional<double> held_by_exchanges(const CostModel& cost, const Model& model, const Strategy& strategy,
                                        const Mesh& mesh, const std::function<DeviceIndex(RankId)>& device_of);

}  // namespace orrery::costmodel
