// SPDX-License-Identifier: Apache-2.0
#include "costmodel/nccl_tuning.h"

#include "base/check.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>

namespace orrery::costmodel {
namespace {

// All tables: NCCL 2.30.7, src/graph/tuning.cc. Microseconds, and GB/s of 1e9 bytes; protocols LL, LL128, Simple.
using ByProtocol = std::array<double, 3>;
using ByNodes = std::array<double, 3>;  // one, two, more

// By algorithm: tree, ring, NVLS, NVLSTree, PAT.
constexpr std::array<ByProtocol, 5> kBase = {{{6.8, 14.0, 8.4}, {6.6, 14.0, 8.4}, {}, {}, {8, 8, 8}}};
constexpr std::array<ByProtocol, 5> kNvlink = {{{0.6, 1.25, 4.0}, {0.6, 1.9, 3.4}, {0, 0, 25}, {0, 0, 25}, {0, 0, 4}}};
constexpr std::array<ByProtocol, 5> kPci = {{{1.0, 1.9, 4.0}, {1.0, 2.5, 5.7}, {}, {}, {0, 0, 4}}};
constexpr std::array<ByProtocol, 5> kNet = {{{5.0, 8.5, 14.0}, {2.7, 4.0, 14.0}, {0, 0, 18}, {0, 0, 20.9}, {0, 0, 14}}};

// By generation: Volta, Ampere, Hopper, Blackwell.
using ByGeneration = std::array<ByNodes, 4>;
/// Of LL; between nodes the row says the CPU instead: Intel, AMD.
constexpr ByGeneration kMaxLl = {{{39.0, 39.0, 20.4}, {87.7, 22.5, 19.0}, {141.0, 45.0, 35.0}, {282.0, 90.0, 70.0}}};
constexpr ByGeneration kMaxRingLl128 = {{{20, 20, 20}, {20, 20, 20}, {36.7, 36.7, 36.7}, {40, 40, 40}}};
constexpr ByGeneration kMaxTreeLl128 = {{{20, 20, 20}, {20, 20, 20}, {36.7, 36.7, 29.0}, {55.6, 31.67, 20}}};
constexpr ByGeneration kMaxTree = {{{26.5, 18.5, 10}, {24, 23.6, 17.8}, {38.7, 41.4, 36.0}, {70, 42.8, 24}}};
constexpr ByGeneration kMaxNvlsTree = {{{26.5, 18.5, 10}, {24, 23.6, 17.8}, {0, 57.7, 45.5}, {0, 96, 80}}};

/// Of a tree's bandwidth, by log2 of size / 64 bytes.
constexpr std::array<std::array<double, 24>, 3> kTreeCorrection = {
    {{1.0, 1.0, 1.0, 1.0, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5,
      0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0},
     {1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.8, 0.8, 0.8, 0.7, 0.6, 0.6,
      0.6, 0.6, 0.6, 0.6, 0.8, 0.9, 0.9, 0.9, 0.9, 1.0, 1.0, 1.0},
     {0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8, 0.7, 0.6, 0.6, 0.5,
      0.5, 0.5, 0.5, 0.6, 0.7, 0.8, 0.7, 0.7, 0.8, 0.9, 0.9, 0.9}}};

std::size_t index_of(auto value) { return static_cast<std::size_t>(value); }

double log2_floor(std::int64_t n) { return static_cast<double>(std::bit_width(static_cast<std::uint64_t>(n)) - 1); }

/// Sends that a ring makes for each piece of the buffer.
double ring_steps(NcclOp op, std::int64_t num_ranks) {
  return (op == NcclOp::all_reduce ? 2.0 : 1.0) * static_cast<double>(num_ranks - 1);
}

class Case {
 public:
  Case(const NcclGroup& group, NcclOp op, NcclAlgorithm algorithm, NcclProtocol protocol, Bytes size)
      : group_(group), op_(op), algorithm_(algorithm), protocol_(protocol), size_(size.in(unit::byte)) {}

  bool is_enabled() const {
    if (protocol_ == NcclProtocol::ll128 && !group_.nvlink) return false;
    const bool simple = protocol_ == NcclProtocol::simple, reduces = op_ == NcclOp::all_reduce;
    const bool nvls = simple && group_.nvlink && group_.generation >= GpuGeneration::hopper;
    switch (algorithm_) {
      case NcclAlgorithm::ring:
        return true;
      case NcclAlgorithm::tree:
        return reduces;
      case NcclAlgorithm::nvls:
        return nvls && group_.num_nodes == 1;
      case NcclAlgorithm::nvls_tree:
        return nvls && reduces && group_.num_nodes > 1 && group_.num_ranks > group_.num_nodes;
      case NcclAlgorithm::pat:
        return simple && !reduces && group_.num_nodes > 1 && group_.num_ranks == group_.num_nodes;
    }
    return false;
  }

  /// Microseconds.
  double latency() const {
    const double base = kBase[index_of(algorithm_)][protocol()];
    const double intra = (group_.nvlink ? kNvlink : kPci)[index_of(algorithm_)][protocol()];
    const double inter = network_step();
    const std::int64_t ranks_of_node = group_.num_ranks / group_.num_nodes;
    const double peers = static_cast<double>(ranks_of_node - 1);
    const double levels = log2_floor(group_.num_nodes);
    switch (algorithm_) {
      case NcclAlgorithm::ring:
        return base + ring_latency(intra, inter);
      case NcclAlgorithm::tree:
        return base + 2.0 * (peers * intra + levels * inter);
      case NcclAlgorithm::nvls:
        return base + intra;
      case NcclAlgorithm::nvls_tree:
        return base + intra + 2.0 * levels * inter;
      case NcclAlgorithm::pat:
        return base + levels * inter / 3.5 + 2.8 * static_cast<double>(group_.num_ranks);
    }
    return base;
  }

  /// GB/s of the whole buffer, and of that with nothing lost.
  double rate() const { return refined_bus() * buffer_over_bus() * correction(); }
  double full_rate() const { return bus() * buffer_over_bus(); }

 private:
  std::size_t protocol() const { return index_of(protocol_); }
  double channels() const { return static_cast<double>(group_.num_channels); }
  double ranks_per_node() const {
    return static_cast<double>(group_.num_ranks) / static_cast<double>(group_.num_nodes);
  }
  double limit(const ByGeneration& table) const {
    return table[index_of(group_.generation)][index_of(std::min<std::int64_t>(group_.num_nodes, 3) - 1)];
  }

  double network_step() const {
    const bool alone = group_.num_ranks == group_.num_nodes;
    const NcclAlgorithm row = algorithm_ == NcclAlgorithm::ring && alone ? NcclAlgorithm::tree : algorithm_;
    const double extra = group_.network_latency.in(unit::microsecond);
    return kNet[index_of(row)][protocol()] + extra * (protocol_ == NcclProtocol::simple ? 2.0 : 1.0);
  }

  double ring_latency(double intra, double inter) const {
    double overhead = 0.0;  // of the proxy threads that serve the network
    if (group_.num_nodes > 1) overhead = group_.amd_cpu ? 2.0 : 1.0;
    if (protocol_ == NcclProtocol::simple) overhead *= 3.0;
    const double steps = ring_steps(op_, group_.num_ranks);
    const double outside = group_.num_nodes > 1 ? ring_steps(op_, group_.num_nodes) : 0.0;
    return (steps - outside) * std::max(intra, overhead) + outside * inter;
  }

  double bus() const {
    return channels() * (group_.num_nodes <= 2 ? group_.intra : group_.inter).in(unit::gigabytes_per_second);
  }

  double max_ll() const {
    if (group_.num_nodes == 1) return limit(kMaxLl);
    return kMaxLl[group_.amd_cpu ? 1 : 0][index_of(std::min<std::int64_t>(group_.num_nodes, 3) - 1)];
  }

  double refined_bus() const {
    const bool ll = protocol_ == NcclProtocol::ll, ll128 = protocol_ == NcclProtocol::ll128;
    switch (algorithm_) {
      case NcclAlgorithm::ring:
        if (ll) return std::min(max_ll(), 0.5 * bus());
        return ll128 ? std::min(0.92 * bus(), channels() * limit(kMaxRingLl128)) : bus();
      case NcclAlgorithm::tree: {
        double rate = std::min(0.92 * bus(), channels() * limit(kMaxTree));
        if (ll) rate = std::min(rate / 3.8, max_ll());
        if (ll128) {
          const double payload = group_.num_nodes == 1 ? 7.0 / 9.0 : 120.0 / 128.0;
          rate = std::min(rate * payload, channels() * limit(kMaxTreeLl128));
        }
        return rate * (group_.plain_tree ? 0.85 : 1.0);
      }
      case NcclAlgorithm::nvls:
      case NcclAlgorithm::nvls_tree:
        return channels() * nvls_channel();
      case NcclAlgorithm::pat:
        return 0.75 * bus();
    }
    return bus();
  }

  double nvls_channel() const {
    const double efficiency = group_.generation == GpuGeneration::blackwell ? 0.74 : 0.85;
    double intra = group_.intra.in(unit::gigabytes_per_second)*efficiency * (channels() - 1.0) / channels();
    // The switch adds up: an all-reduce sends a buffer once where a ring sends it twice.
    intra *= op_ == NcclOp::all_reduce ? 2.0 : (ranks_per_node() - 1.0) / ranks_per_node();
    const bool tree = algorithm_ == NcclAlgorithm::nvls_tree;
    double inter = group_.inter.in(unit::gigabytes_per_second) * (tree && group_.num_nodes <= 2 ? 2.0 : 1.0);
    if (tree) inter = std::min(inter, limit(kMaxNvlsTree));
    return std::min(intra, inter);
  }

  double buffer_over_bus() const {
    if (algorithm_ == NcclAlgorithm::tree) return 0.5;
    const bool unchanged = op_ != NcclOp::all_reduce && algorithm_ != NcclAlgorithm::ring;
    return unchanged ? 1.0 : static_cast<double>(group_.num_ranks) / ring_steps(op_, group_.num_ranks);
  }

  double correction() const {
    if (size_ < 64.0) return 1.0;
    const auto index = static_cast<std::size_t>(std::log2(size_ / 64.0));
    if (algorithm_ == NcclAlgorithm::tree && index < 23) return kTreeCorrection[protocol()][index];
    const bool corrected =
        algorithm_ == NcclAlgorithm::nvls_tree && group_.generation == GpuGeneration::blackwell && group_.x86_cpu;
    return corrected && index < 24 ? kTreeCorrection[protocol()][index] : 1.0;
  }

  const NcclGroup& group_;
  NcclOp op_;
  NcclAlgorithm algorithm_;
  NcclProtocol protocol_;
  double size_;  // bytes
};

}  // namespace

std::string_view name_of(NcclAlgorithm algorithm) {
  constexpr std::array<std::string_view, 5> kNames = {"tree", "ring", "nvls", "nvls_tree", "pat"};
  return kNames.at(index_of(algorithm));
}

std::string_view name_of(NcclProtocol protocol) {
  constexpr std::array<std::string_view, 3> kNames = {"ll", "ll128", "simple"};
  return kNames.at(index_of(protocol));
}

std::optional<NcclEstimate> nccl_estimate(const NcclGroup& group, NcclOp op, NcclAlgorithm algorithm,
                                          NcclProtocol protocol, Bytes size) {
  CHECK(group.num_ranks >= 2 && group.num_nodes >= 1, group.num_ranks, group.num_nodes);
  CHECK(group.num_nodes <= group.num_ranks && group.num_channels >= 2, group.num_nodes, group.num_channels);
  const Case what(group, op, algorithm, protocol, size);
  if (!what.is_enabled()) return std::nullopt;
  double latency = what.latency();
  const double slice = size.in(unit::byte) / static_cast<double>(group.num_channels * group.num_ranks);
  if (algorithm == NcclAlgorithm::ring && protocol == NcclProtocol::simple && op == NcclOp::all_reduce &&
      group.num_nodes > 1 && slice >= 64.0) {
    latency *= group.generation == GpuGeneration::volta ? 1.9 : 1.4;  // a plateau that was seen there
  }
  const double rate = what.rate();
  return NcclEstimate{.algorithm = algorithm,
                      .protocol = protocol,
                      .latency = microseconds(latency),
                      .rate = rate * unit::gigabytes_per_second,
                      .share = std::min(1.0, rate / what.full_rate())};
}

std::vector<NcclEstimate> nccl_estimates(const NcclGroup& group, NcclOp op, Bytes size) {
  std::vector<NcclEstimate> out;
  for (const auto algorithm :
       {NcclAlgorithm::tree, NcclAlgorithm::ring, NcclAlgorithm::nvls, NcclAlgorithm::nvls_tree, NcclAlgorithm::pat}) {
    for (const auto protocol : {NcclProtocol::ll, NcclProtocol::ll128, NcclProtocol::simple}) {
      if (const auto estimate = nccl_estimate(group, op, algorithm, protocol, size)) out.push_back(*estimate);
    }
  }
  CHECK(!out.empty());
  return out;
}

NcclEstimate nccl_choice(const NcclGroup& group, NcclOp op, Bytes size) {
  const std::vector<NcclEstimate> all = nccl_estimates(group, op, size);
  return *std::min_element(all.begin(), all.end(),
                           [&](const auto& a, const auto& b) { return a.time(size) < b.time(size); });
}

}  // namespace orrery::costmodel
