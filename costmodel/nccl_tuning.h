// SPDX-License-Identifier: Apache-2.0
// What NCCL expects of its algorithms and protocols: a start-up time and a bandwidth for each, from constant tables by
// generation of GPU, kind of link and number of nodes. NCCL ranks them by these numbers and takes the least. They are
// made for ranking and not for absolute times: no congestion, no arrival at different times, no all-to-all. So the cost
// model takes its bandwidths from measurements and from the cluster's ports, and from here how a start-up time grows
// with ranks and nodes, and what a protocol costs in bandwidth (docs/design/collectives.md).
// Source of all formulas and tables: NCCL 2.30.7, src/graph/tuning.cc. Left out: SHARP (collnet), broadcast and reduce.
#pragma once

#include "base/units.h"

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace orrery::costmodel {

enum class NcclAlgorithm : std::uint8_t { tree, ring, nvls, nvls_tree, pat };
/// `ll`: a flag beside each 4 bytes, so that no fence is needed. `ll128`: one flag for 120 bytes, over NVLink only.
/// `simple`: whole chunks, then a fence: the slowest to start and the fastest on the wire.
enum class NcclProtocol : std::uint8_t { ll, ll128, simple };
enum class NcclOp : std::uint8_t { all_reduce, all_gather, reduce_scatter };
enum class GpuGeneration : std::uint8_t { volta, ampere, hopper, blackwell };

std::string_view name_of(NcclAlgorithm algorithm);
std::string_view name_of(NcclProtocol protocol);

/// A communicator as NCCL's search in the topology sees it. `num_nodes`: domains of NVLink, if these are larger.
struct NcclGroup {
  std::int64_t num_ranks = 0, num_nodes = 1;
  GpuGeneration generation = GpuGeneration::hopper;
  BytesPerSecond intra, inter;  // of one channel, within a node and between nodes; on one node both the same
  std::int64_t num_channels = 2;
  Seconds network_latency = {};  // of the network beyond what the tables hold
  bool nvlink = true;            // else PCIe
  bool amd_cpu = false;          // its network proxies start later than Intel's
  bool x86_cpu = true;
  bool plain_tree = false;  // in place of a balanced one, which is the rule
};

/// What one algorithm with one protocol takes.
struct NcclEstimate {
  NcclAlgorithm algorithm = NcclAlgorithm::ring;
  NcclProtocol protocol = NcclProtocol::simple;
  Seconds latency;
  BytesPerSecond rate;  // bytes of nccl-tests' size (the whole buffer) per second
  /// `rate` over what all channels carry for this algorithm with nothing lost: at most 1.
  double share = 1.0;

  Seconds time(Bytes size) const { return latency + size / rate; }
};

/// Nothing where NCCL does not use the pair: trees reduce only; NVLS needs Hopper and one domain (with SHARP more,
/// which is left out), NVLSTree several; PAT gathers between nodes of one rank each; LL128 needs NVLink; all three of
/// the newer ones are `simple`. Requires: at least two ranks, at most one node for each, two channels; positive rates.
std::optional<NcclEstimate> nccl_estimate(const NcclGroup& group, NcclOp op, NcclAlgorithm algorithm,
                                          NcclProtocol protocol, Bytes size);

/// Of every pair that NCCL may use. Never empty.
std::vector<NcclEstimate> nccl_estimates(const NcclGroup& group, NcclOp op, Bytes size);

/// What NCCL takes: the least time.
NcclEstimate nccl_choice(const NcclGroup& group, NcclOp op, Bytes size);

}  // namespace orrery::costmodel
