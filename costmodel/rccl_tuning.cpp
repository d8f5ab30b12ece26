// SPDX-License-Identifier: Apache-2.0
#include "costmodel/rccl_tuning.h"

#include "base/check.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>

namespace orrery::costmodel {
namespace {

// Microseconds, and shares of the rate; tree and ring, each with LL, LL128, Simple. Zero: not used.
using ByProtocol = std::array<double, 3>;
using Rows = std::array<ByProtocol, 2>;
using BySize = std::array<double, 27>;  // by log2 of size / 64 bytes

constexpr ByProtocol kBase = {12.0, 12.0, 17.0};

struct Table {
  Rows xgmi, network;
  Rows ratio_of_few, ratio_of_many;  // up to two nodes, and more
  std::array<std::array<BySize, 3>, 2> correction;
};

constexpr Table kMi250 = {.xgmi = {{{0.8, 1.4, 2.5}, {0.8, 2.2, 3.6}}},
                          .network = {{{32.2, 34.4, 47.6}, {35.4, 87.8, 209.2}}},
                          .ratio_of_few = {{{0.16, 1.09, 1.61}, {0.15, 0.41, 1.0}}},
                          .ratio_of_many = {{{0.16, 1.09, 1.08}, {0.15, 0.41, 1.0}}},
                          .correction = {{{{{0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1.0, 0.1, 0.1, 0.2, 0.4, 0.6,
                                             0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1},
                                            {0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.2, 1.0,
                                             0.5, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2},
                                            {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.4, 0.3, 0.3, 0.1, 0.1,
                                             1.0, 1.0, 0.7, 0.5, 0.6, 0.5, 0.6, 0.6, 0.5, 0.6, 0.6, 0.6, 0.7}}},
                                          {{{0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.1,
                                             0.3, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1},
                                            {0.4, 0.5, 0.5, 0.4, 0.4, 0.4, 0.4, 0.2, 0.2, 0.1, 0.3, 1.0, 1.0, 0.7,
                                             0.8, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.8, 0.5, 0.4, 0.3, 0.3},
                                            {0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1.0, 1.0, 0.8, 0.5, 0.1,
                                             0.7, 0.2, 0.4, 0.4, 0.6, 0.7, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}}}}}};

constexpr Table kMi300 = {.xgmi = {{{0.9, 0.0, 2.3}, {0.8, 0.0, 2.1}}},
                          .network = {{{10.5, 0.0, 25.0}, {9.5, 0.0, 320.0}}},
                          .ratio_of_few = {{{0.06, 0.0, 0.11}, {0.08, 0.0, 1.0}}},
                          .ratio_of_many = {{{0.06, 0.0, 0.59}, {0.08, 0.0, 1.0}}},
                          .correction = {{{{{0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 0.6, 1.0, 0.9,
                                             1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1},
                                            {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
                                             0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0},
                                            {0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1,
                                             0.1, 0.7, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8}}},
                                          {{{0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1.0, 0.2, 1.0,
                                             0.4, 0.4, 0.1, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1},
                                            {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
                                             0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0},
                                            {0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1,
                                             0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.8, 1.0, 1.0, 1.0}}}}}};

std::size_t index_of(auto value) { return static_cast<std::size_t>(value); }

}  // namespace

std::optional<NcclEstimate> rccl_estimate(const RcclGroup& group, NcclOp op, NcclAlgorithm algorithm,
                                          NcclProtocol protocol, Bytes size) {
  CHECK(group.num_ranks >= 2 && group.num_nodes >= 1, group.num_ranks, group.num_nodes);
  CHECK(group.num_nodes <= group.num_ranks, group.num_nodes, group.num_ranks);
  const bool tree = algorithm == NcclAlgorithm::tree, simple = protocol == NcclProtocol::simple;
  const bool reduces = op == NcclOp::all_reduce, one_node = group.num_nodes == 1;
  if (!tree && algorithm != NcclAlgorithm::ring) return std::nullopt;
  if (tree && (!reduces || (simple && one_node && group.node == RcclNode::mi300))) return std::nullopt;
  const Table& table = group.node == RcclNode::mi250 ? kMi250 : kMi300;
  const std::size_t row = tree ? 0 : 1, column = index_of(protocol);
  double share = (group.num_nodes <= 2 ? table.ratio_of_few : table.ratio_of_many)[row][column];
  if (share == 0.0) return std::nullopt;
  const double units = size.in(unit::byte) / 64.0;
  if (units >= 1.0 && (tree || !one_node)) {
    share *= table.correction[row][column][index_of(std::min(std::log2(units), 26.0))];
  }

  const auto nodes = static_cast<double>(group.num_nodes), ranks = static_cast<double>(group.num_ranks);
  const double inside = table.xgmi[row][column], extra = group.network_latency.in(unit::microsecond);
  const double outside = (extra > 0.0 ? extra : table.network[row][column]) + (simple ? extra : 0.0);
  const double steps = (reduces ? 2.0 : 1.0) * (ranks - 1.0);
  double latency = kBase[column];
  if (tree) {
    const std::int64_t ranks_of_node = group.num_ranks / group.num_nodes;
    const double levels = static_cast<double>(std::bit_width(static_cast<std::uint64_t>(group.num_nodes)) - 1);
    latency += 2.0 * (static_cast<double>(ranks_of_node - 1) * inside + levels * outside);
  } else {
    // The network's proxies on an AMD CPU take 2 us for a step, three times that with Simple.
    const double proxy = one_node ? 0.0 : (simple ? 6.0 : 2.0);
    const double between = one_node ? 0.0 : (reduces ? 2.0 * nodes : nodes - 1.0);
    latency += (steps - between) * std::max(inside, proxy) + between * outside;
  }
  return NcclEstimate{.algorithm = algorithm,
                      .protocol = protocol,
                      .latency = microseconds(latency),
                      .rate = group.rate * (share * (tree ? 0.5 : ranks / steps)),
                      .share = std::min(1.0, share)};
}

std::vector<NcclEstimate> rccl_estimates(const RcclGroup& group, NcclOp op, Bytes size) {
  std::vector<NcclEstimate> out;
  for (const auto algorithm : {NcclAlgorithm::tree, NcclAlgorithm::ring}) {
    for (const auto protocol : {NcclProtocol::ll, NcclProtocol::ll128, NcclProtocol::simple}) {
      if (const auto estimate = rccl_estimate(group, op, algorithm, protocol, size)) out.push_back(*estimate);
    }
  }
  CHECK(!out.empty());
  return out;
}

}  // namespace orrery::costmodel
