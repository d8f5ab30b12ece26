// SPDX-License-Identifier: Apache-2.0
#include "sim/least_time.h"

#include "base/check.h"
#include "sim/wiring.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace orrery::sim {
namespace {

/// What goes over a link in each direction.
struct Load {
  Bytes out, in;
  Seconds time(BytesPerSecond bandwidth) const { return std::max(out, in) / bandwidth; }
};

/// Traffic between members, each pair on its way: by the scale-up ports within a domain, else by the NICs of both, and
/// by the uplinks of their leaves where these differ, or by the cables between routers that the topology's routes take,
/// equal ways alike.
class Traffic {
 public:
  Traffic(const Wiring& wiring, const Members& members)
      : wiring_(wiring),
        devices_(members.devices),
        routers_(members.hashed ? nullptr : members.routers),
        cables_(routers_ != nullptr ? routers_->graph().links.size() : 0),
        ports_(wiring.members.size()),
        nics_(wiring.nics.size()),
        domains_(wiring.domains.size()),
        leaves_(wiring.leaves.size()),
        pods_(wiring.pods.size()) {}

  void send(std::size_t from, std::size_t to, Bytes size) {
    const Wiring::Member &source = wiring_.members[from], &destination = wiring_.members[to];
    if (source.domain == destination.domain) {
      ports_[from].out += size;
      ports_[to].in += size;
      return;
    }
    nics_[destination.nic].in += size;
    send_out(source, destination, size);
    if (source.leaf != destination.leaf) send_over_routers(from, to, size);
  }

  /// To the domain of a member, by whichever of its NICs.
  void send_to_domain(std::size_t from, std::size_t any_of_it, Bytes size) {
    const Wiring::Member& source = wiring_.members[from];
    Wiring::Member to = wiring_.members[any_of_it];
    if (!wiring_.leaves_hold_domains) to.leaf = source.leaf;
    send_out(source, to, size);
    if (source.leaf != to.leaf) send_over_routers(from, any_of_it, size);
  }

  Seconds slowest() const {
    Seconds time;
    for (std::size_t i = 0; i < ports_.size(); ++i) {
      time = std::max(time, ports_[i].time(wiring_.members[i].scale_up));
    }
    for (std::size_t i = 0; i < nics_.size(); ++i) time = std::max(time, nics_[i].time(wiring_.nics[i]));
    for (std::size_t i = 0; i < domains_.size(); ++i) time = std::max(time, domains_[i].time(wiring_.domains[i].out));
    for (std::size_t i = 0; i < leaves_.size(); ++i) time = std::max(time, leaves_[i].time(wiring_.leaves[i].out));
    for (std::size_t i = 0; i < pods_.size(); ++i) time = std::max(time, pods_[i].time(wiring_.pods[i].out));
    for (std::size_t i = 0; i < cables_.size(); ++i) {
      const auto bandwidth = routers_->graph().links[i].bandwidth;
      if (bandwidth && cables_[i] > Bytes::zero()) time = std::max(time, cables_[i] / *bandwidth);
    }
    return time;
  }

 private:
  void send_over_routers(std::size_t from, std::size_t to, Bytes size) {
    if (routers_ == nullptr) return;
    routers_->route(devices_[from], devices_[to], topology::Ways::balanced(),
                    [&](topology::LinkIndex link, double share) {
                      const topology::LinkKind kind = routers_->graph()[link].kind;
                      if (topology::is_between_switches(kind)) cables_[link.index()] += size * share;
                    });
  }

  void send_out(const Wiring::Member& source, const Wiring::Member& to, Bytes size) {
    nics_[source.nic].out += size;
    domains_[source.domain].out += size;
    domains_[to.domain].in += size;
    if (source.leaf == to.leaf) return;
    leaves_[source.leaf].out += size;
    leaves_[to.leaf].in += size;
    if (source.pod == to.pod) return;
    pods_[source.pod].out += size;
    pods_[to.pod].in += size;
  }

  const Wiring& wiring_;
  const std::span<const DeviceIndex> devices_;
  const topology::Topology* routers_;
  std::vector<Bytes> cables_;  // each one way
  std::vector<Load> ports_, nics_, domains_, leaves_, pods_;
};

/// All links by which a device reaches the others.
BytesPerSecond ports_of(const Wiring& wiring, const Wiring::Member& member) {
  return wiring.domains.size() > 1 ? member.scale_up + wiring.nics[member.nic] : member.scale_up;
}

/// Every member as a part of its own, the domains, the leaves, the pods: wherever the group can be cut in two.
std::vector<std::vector<Wiring::Part>> divisions(const Wiring& wiring) {
  std::vector<std::vector<Wiring::Part>> all(1);
  for (const Wiring::Member& member : wiring.members) {
    all.front().push_back({.num_members = 1.0, .out = ports_of(wiring, member)});
  }
  if (wiring.domains.size() > 1) all.push_back(wiring.domains);
  if (wiring.leaves.size() > 1 && wiring.leaves_hold_domains) all.push_back(wiring.leaves);
  if (wiring.pods.size() > 1 && wiring.leaves_hold_domains) all.push_back(wiring.pods);
  return all;
}

Seconds least_gather(const Wiring& wiring, Bytes size) {
  const auto n = static_cast<double>(wiring.members.size());
  Seconds time;
  for (const auto& parts : divisions(wiring)) {
    for (const Wiring::Part& part : parts) time = std::max(time, size * ((n - part.num_members) / n) / part.out);
  }
  return time;
}

Seconds least_all_reduce(const Wiring& wiring, Bytes size) {
  Seconds time;
  bool switches_reduce = std::ranges::all_of(wiring.members, &Wiring::Member::reduces_in_switch);
  for (const auto& parts : divisions(wiring)) {
    BytesPerSecond all;
    for (const Wiring::Part& part : parts) {
      all += part.out;
      time = std::max(time, size / part.out);
    }
    const auto k = static_cast<double>(parts.size());
    if (!switches_reduce) time = std::max(time, 2.0 * (k - 1.0) * size / all);
    switches_reduce = false;  // those of the network do not
  }
  return time;
}

/// Of `n` equal parts of the experts, how many hold one of k experts that are drawn at random, on average.
double parts_hit(double num_experts, std::int64_t k, double n) {
  double missed = 1.0;  // the chance that one part is not among them
  const double elsewhere = num_experts - num_experts / n;
  for (std::int64_t drawn = 0; drawn < k; ++drawn) {
    const auto gone = static_cast<double>(drawn);
    missed *= std::max(elsewhere - gone, 0.0) / (num_experts - gone);
  }
  return n * (1.0 - missed);
}

/// The same of a router that chooses groups of experts first. Where a part holds several groups, as if the chosen ones
/// lay as close together as they can.
double parts_hit(const ExchangeShape& shape, double num_experts, double n) {
  const std::int64_t k = shape.top_k;
  const auto groups = static_cast<double>(shape.num_groups), chosen = static_cast<double>(shape.top_k_groups);
  if (groups <= 1.0 || chosen >= groups) return parts_hit(num_experts, k, n);
  const double among = num_experts * chosen / groups;
  if (n >= groups) return parts_hit(among, k, n * chosen / groups);
  return std::max(1.0, parts_hit(among, k, chosen) * n / groups);
}

/// Copies of tokens that have to reach a part of the group, of `pairs` pairs (token, expert there).
class Copies {
 public:
  Copies(const ExchangeShape& shape, const RoutingMatrix& routing, bool is_balanced, double num_parts) : shape_(shape) {
    const auto num_experts = static_cast<double>(routing.num_experts), k = static_cast<double>(shape.top_k);
    const double experts_of_part = num_experts / num_parts;
    per_pair_ = is_balanced ? parts_hit(shape, num_experts, num_parts) / k : 1.0 / std::min(k, experts_of_part);
  }
  Bytes of(double pairs) const { return bytes(pairs * per_pair_ * static_cast<double>(shape_.row_bytes)); }

 private:
  const ExchangeShape& shape_;
  double per_pair_ = 1.0;
};

Seconds least_two_level(const ExchangeShape& shape, const RoutingMatrix& routing, bool is_balanced,
                        const Wiring& wiring, const Members& members) {
  const std::size_t n = wiring.members.size();
  // Domains of different size hold different numbers of experts: then the fewest copies of the largest.
  double largest = 0.0;
  for (const Wiring::Part& domain : wiring.domains) largest = std::max(largest, domain.num_members);
  const double num_domains = static_cast<double>(n) / largest;
  const bool is_even = num_domains == static_cast<double>(wiring.domains.size());
  const Copies to_domain(shape, routing, is_balanced && is_even, num_domains);
  const Copies to_rank(shape, routing, is_balanced, static_cast<double>(n));
  std::vector<std::size_t> any_of(wiring.domains.size());
  for (std::size_t i = 0; i < n; ++i) any_of[wiring.members[i].domain] = i;
  Traffic traffic(wiring, members);
  std::vector<double> taken_in(n);
  for (std::size_t i = 0; i < n; ++i) {
    std::vector<double> pairs(wiring.domains.size());
    for (std::size_t j = 0; j < n; ++j) {
      const double sent = routing.sent(static_cast<std::int64_t>(i), static_cast<std::int64_t>(j));
      pairs[wiring.members[j].domain] += sent;
      if (i != j) taken_in[j] += sent;
    }
    for (std::size_t d = 0; d < pairs.size(); ++d) {
      if (d == wiring.members[i].domain) continue;
      traffic.send_to_domain(i, any_of[d], to_domain.of(pairs[d]));
    }
  }
  Seconds time = traffic.slowest();
  for (std::size_t j = 0; j < n; ++j) {
    time = std::max(time, to_rank.of(taken_in[j]) / ports_of(wiring, wiring.members[j]));
  }
  return time;
}

}  // namespace

LeastTime least_time(const CollectiveShape& shape, const Members& members) {
  const Wiring wiring = wiring_of(members.cluster, members.devices, members.uplinks, members.routers);
  const std::size_t n = wiring.members.size();
  CHECK(n >= 2, n);
  const Bytes size = bytes(static_cast<double>(shape.bytes));
  Traffic traffic(wiring, members);
  switch (shape.kind) {
    case CollectiveKind::all_reduce:
      return {.links = least_all_reduce(wiring, size), .latency = wiring.latency};
    case CollectiveKind::all_gather:
    case CollectiveKind::reduce_scatter:
      return {.links = least_gather(wiring, size), .latency = wiring.latency};
    case CollectiveKind::ring_shift:
      for (std::size_t i = 0; i < n; ++i) traffic.send(i, (i + 1) % n, size);
      break;
    case CollectiveKind::all_to_all:
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
          if (i != j) traffic.send(i, j, size / static_cast<double>(n));
        }
      }
      break;
  }
  return {.links = traffic.slowest(), .latency = wiring.latency};
}

LeastTime least_time(const ExchangeShape& shape, const RoutingMatrix& routing, bool is_balanced,
                     const Members& members) {
  const Wiring wiring = wiring_of(members.cluster, members.devices, members.uplinks, members.routers);
  const std::size_t n = wiring.members.size();
  CHECK(n >= 2 && static_cast<std::size_t>(routing.group) == n, n, routing.group);
  if (shape.two_level) {
    return {.links = least_two_level(shape, routing, is_balanced, wiring, members), .latency = wiring.latency};
  }
  Traffic traffic(wiring, members);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      if (i == j) continue;
      const double rows = routing.sent(static_cast<std::int64_t>(i), static_cast<std::int64_t>(j));
      traffic.send(i, j, bytes(rows * static_cast<double>(shape.row_bytes) + static_cast<double>(shape.count_bytes)));
    }
  }
  return {.links = traffic.slowest(), .latency = wiring.latency};
}

LeastTime least_time(const PeerShape& shape, const Members& members) {
  CHECK(members.devices.size() == 2, members.devices.size());
  const Wiring wiring = wiring_of(members.cluster, members.devices, members.uplinks, members.routers);
  Traffic traffic(wiring, members);
  traffic.send(0, 1, bytes(static_cast<double>(shape.bytes)));
  return {.links = traffic.slowest(), .latency = wiring.latency};
}

}  // namespace orrery::sim
