// SPDX-License-Identifier: Apache-2.0
// The part of CollectiveModel that asks the tables of NCCL and RCCL: collectives of groups that nobody measured, and
// messages.
#include "costmodel/collective_model.h"
#include "costmodel/rccl_tuning.h"
#include "program/work.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace orrery::costmodel {
namespace {

/// NCCL's tables are by compute capability, which device/1 does not have: fp8 came with Hopper, NVLink of more than
/// 450 GB/s with Blackwell, bf16 with Ampere.
GpuGeneration generation_of(const Device& device) {
  const BytesPerSecond link = device.scale_up_bandwidth.value_or(BytesPerSecond());
  if (link > 450.0 * unit::gigabytes_per_second) return GpuGeneration::blackwell;
  if (device.peak.contains(DType::fp8)) return GpuGeneration::hopper;
  return device.peak.contains(DType::bf16) ? GpuGeneration::ampere : GpuGeneration::volta;
}

// NCCL opens as many channels as a group's links allow, each of 20 to 40 GB/s, up to 64 (2.30.7, src/include/device.h).
constexpr BytesPerSecond kChannel = 24.0 * unit::gigabytes_per_second;
constexpr std::int64_t kMaxChannels = 64;
// The slowest hop that NCCL's tables have for a network of the usual kind (tree, LL); what a hop takes beyond it comes
// on top.
constexpr Seconds kUsualHop = 5.0 * unit::microsecond;

bool starts_earlier(const NcclEstimate& a, const NcclEstimate& b) { return a.latency < b.latency; }

}  // namespace

bool CollectiveModel::needs_nccl(std::string_view op, const Place& place) const {
  const DeviceKind kind = place.group->device.kind;
  if (kind == DeviceKind::cpu || place.shared_memory) return false;
  // RCCL's figures between nodes are artefacts of its fit; for messages it has none.
  const bool has_rccl = place.widest == PathClass::node && op != "send_recv" && op != "all_to_all";
  if (kind == DeviceKind::hip && !has_rccl) return false;
  const auto* sizes = place.widest == PathClass::node ? measured_sizes(op, place) : nullptr;
  if (sizes && sizes->first == place.num_ranks) return false;
  const CollectiveFit* own = fit(op, place.widest);
  if (!own || !own->latency) return true;
  const bool outside = place.num_ranks < own->min_ranks || place.num_ranks > own->max_ranks;
  return place.widest == PathClass::node && outside;
}

NcclGroup CollectiveModel::nccl_group(const Place& place) const {
  const bool one_domain = place.widest == PathClass::node;
  BytesPerSecond all = port_rate(place, place.widest);
  // port_rate has made sure that a network and its latency are known.
  if (!one_domain) all = all * static_cast<double>(place.ranks_in_domain);  // each with its NIC
  all = std::min(all, kChannel * double{kMaxChannels});                     // "unlimited" is no number for a table
  const auto wanted = static_cast<std::int64_t>(std::ceil(all / kChannel));
  NcclGroup group{.num_ranks = place.num_ranks, .num_nodes = place.num_domains};
  group.generation = generation_of(place.group->device);
  group.num_channels = std::max<std::int64_t>(wanted, 2);
  group.intra = group.inter = all / static_cast<double>(group.num_channels);
  if (!one_domain) {
    const Seconds hop = *place.group->nics->latency + place.network.latency;
    group.network_latency = std::max(Seconds::zero(), hop - kUsualHop);
  }
  group.nvlink = place.group->scale_up.kind == ScaleUpKind::nvlink;
  return group;
}

Seconds CollectiveModel::beyond_tables(std::string_view op, NcclOp kind, const Place& place) const {
  const CollectiveFit* own = fit(op, PathClass::node);
  if (!own || !own->latency || place.ranks_in_domain < 2) return {};
  Place near = place;
  near.num_ranks = near.ranks_in_domain = std::clamp(place.ranks_in_domain, own->min_ranks, own->max_ranks);
  near.num_domains = 1;
  near.widest = PathClass::node;
  const std::vector<NcclEstimate> all = estimates(near, kind, bytes(1));
  return start_in_domain(op, near).time - std::min_element(all.begin(), all.end(), starts_earlier)->latency;
}

std::vector<NcclEstimate> CollectiveModel::estimates(const Place& place, NcclOp kind, Bytes size) const {
  const Device& device = place.group->device;
  if (device.kind == DeviceKind::cuda) return nccl_estimates(nccl_group(place), kind, size);
  RcclGroup group{.num_ranks = place.num_ranks, .num_nodes = place.num_domains};
  group.node = device.peak.contains(DType::fp8) ? RcclNode::mi300 : RcclNode::mi250;
  group.rate = port_rate(place, place.widest);
  return rccl_estimates(group, kind, size);
}

CommTime CollectiveModel::by_nccl(const CollectiveShape& shape, const Place& place) const {
  const std::string_view op = name_of(shape.kind);
  const NcclOp kind = shape.kind == CollectiveKind::all_reduce   ? NcclOp::all_reduce
                      : shape.kind == CollectiveKind::all_gather ? NcclOp::all_gather
                                                                 : NcclOp::reduce_scatter;
  const Bytes size = bytes(static_cast<double>(shape.bytes)), wire = wire_bytes(shape, place.num_ranks);
  const auto domain = static_cast<double>(place.ranks_in_domain), fewest = static_cast<double>(place.fewest_in_domain);
  const bool one_domain = place.widest == PathClass::node;
  const Seconds beyond = beyond_tables(op, kind, place);
  std::optional<CommTime> best;
  for (const NcclEstimate& estimate : estimates(place, kind, size)) {
    // Rings through all nodes, one for each member of a node: each enters and leaves a node through another NIC.
    Bytes inside = one_domain ? wire : wire * ((domain - 1.0) / domain), outside = wire / fewest;
    if (estimate.algorithm == NcclAlgorithm::tree || estimate.algorithm == NcclAlgorithm::nvls_tree) {
      // Up and down. Of two trees with half of the buffer each, a node is a leaf of one and has two children in the
      // other; of two nodes each has one child.
      inside = 2.0 * size * (one_domain ? 1.0 : (domain - 1.0) / domain);
      outside = (place.num_domains > 2 ? 2.0 : 1.0) * size / fewest;
    }
    if (one_domain) outside = {};
    const Start start{
        .time = std::max(Seconds::zero(), estimate.latency + beyond), .extrapolated = true, .share = estimate.share};
    const CommTime time = with_legs(op, place, inside, outside, start);
    if (!best || time.alone() < best->alone()) best = time;
  }
  return *best;
}

CommTime CollectiveModel::by_messages(std::string_view op, const Place& place, Bytes inside, Bytes outside,
                                      Seconds peers) const {
  Place pair = place;
  pair.num_ranks = 2;
  pair.num_domains = pair.widest == PathClass::node ? 1 : 2;
  pair.ranks_in_domain = 2 / pair.num_domains;
  const NcclGroup group = nccl_group(pair);
  std::optional<CommTime> best;
  for (const NcclProtocol protocol : {NcclProtocol::ll, NcclProtocol::simple}) {
    const auto step = nccl_estimate(group, NcclOp::all_gather, NcclAlgorithm::ring, protocol, inside + outside);
    const Start start{.time = step->latency + peers, .extrapolated = true, .share = step->share};
    const CommTime time = with_legs(op, place, inside, outside, start);
    if (!best || time.alone() < best->alone()) best = time;
  }
  return *best;
}

CommTime CollectiveModel::message(const Place& place, Bytes inside, Bytes outside) const {
  constexpr std::string_view kOp = "send_recv";
  return needs_nccl(kOp, place) ? by_messages(kOp, place, inside, outside, {}) : with_legs(kOp, place, inside, outside);
}

CommTime CollectiveModel::all_to_all(const Place& place, Bytes inside, Bytes outside) const {
  constexpr std::string_view kOp = "all_to_all";
  const CollectiveFit* own = fit(kOp, PathClass::node);
  if (place.widest == PathClass::node || !own || !own->latency_per_peer || !needs_nccl(kOp, place)) {
    return with_legs(kOp, place, inside, outside);
  }
  // All messages are in flight together; what grows with the group is the cost of one more peer.
  return by_messages(kOp, place, inside, outside, *own->latency_per_peer * static_cast<double>(place.num_ranks - 2));
}

}  // namespace orrery::costmodel
