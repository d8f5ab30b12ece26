// SPDX-License-Identifier: Apache-2.0
#include "costmodel/collective_model.h"

#include "base/check.h"
#include "base/errors.h"
#include "costmodel/calibration_names.h"
#include "costmodel/collective_fit.h"
#include "program/work.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <vector>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

std::string_view name_of(PathClass path) { return kPathNames[static_cast<std::size_t>(path)]; }

/// Of a measured curve: a ring shift is a send and a receive at once.
std::string_view curve_name(CollectiveKind kind) {
  return kind == CollectiveKind::ring_shift ? "send_recv" : name_of(kind);
}

TrafficPattern pattern_of(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::all_to_all:
      return TrafficPattern::all_pairs;
    case CollectiveKind::ring_shift:
      return TrafficPattern::shift;
    case CollectiveKind::all_reduce:
    case CollectiveKind::all_gather:
    case CollectiveKind::reduce_scatter:
      break;
  }
  return TrafficPattern::domain_rings;
}

/// Fraction of a port's rate where nothing was measured: fits of SimuMax for B200 and NVLink
/// (docs/design/collectives.md).
double default_fraction(std::string_view op) {
  if (op == "all_reduce") return 0.742;
  return op == "all_to_all" ? 0.597 : 0.674;
}

double ceil_log2(std::int64_t n) { return static_cast<double>(std::bit_width(static_cast<std::uint64_t>(n - 1))); }

template <class Q>
Q needed(const std::optional<Q>& value, const NodeGroup& group, std::string_view key, std::string_view what) {
  if (value) return *value;
  throw ConfigError(
      fmt::format("group \"{}\" of the cluster: {} is unknown (null): expected {}, since ranks of the "
                  "plan communicate there",
                  group.name, key, what));
}

Seconds network_latency(const NodeGroup& group) {
  if (!group.nics) {
    throw ConfigError(
        fmt::format("group \"{}\" of the cluster: nics is null: expected a network, since ranks of the "
                    "plan communicate between nodes",
                    group.name));
  }
  return needed(group.nics->latency, group, "nics.latency", "a time");
}

BytesPerSecond nic_rate(const NodeGroup& group) {
  network_latency(group);  // says so if there is no network
  return needed(group.nics->each, group, "nics.each", "a bandwidth") * static_cast<double>(group.nics->per_node) /
         static_cast<double>(group.devices_per_node);
}

/// The entry of `by_ranks` whose number of ranks is next to `ranks`.
const auto& nearest(const std::map<std::int64_t, LinearCurve>& by_ranks, std::int64_t ranks) {
  return *std::min_element(by_ranks.begin(), by_ranks.end(), [&](const auto& a, const auto& b) {
    return std::abs(a.first - ranks) < std::abs(b.first - ranks);
  });
}

// From here on a curve tells a rate. That of further bytes at its end is the steady one.
constexpr Bytes kLargeMessage = unit::mebibyte;
constexpr Bytes kSteady = bytes(std::numeric_limits<double>::infinity());

Bytes whole(Bytes payload) { return bytes(std::ceil(payload.in(unit::byte))); }

}  // namespace

CollectiveModel::CollectiveModel(Cluster cluster, const Calibration& calibration)
    : cluster_(std::move(cluster)), limit_(cluster_), calibrated_links_(calibration.conditions.links) {
  if (const auto kernels = kernels_in_training(calibration)) network_ = kernels->network;
  const std::vector<CollectiveFit> fits = calibration.fits.empty() ? fitted(calibration.collectives) : calibration.fits;
  for (const CollectiveFit& entry : fits) fits_[{entry.op, entry.path}] = entry;
  for (const CollectiveMeasurement& point : calibration.collectives) {
    if (point.path == "node") tables_[point.op][point.ranks].add(point.bytes, point.time);
  }
}

CollectiveModel::Place CollectiveModel::place_of(std::span<const DeviceIndex> members, TrafficPattern pattern) const {
  CHECK(members.size() >= 2, members.size());
  Place place;
  place.num_ranks = static_cast<std::int64_t>(members.size());
  place.shared_memory = true;
  std::map<std::int64_t, std::int64_t> ranks_of_domain;
  std::set<std::int64_t> leaves;
  std::set<std::size_t> groups;
  for (DeviceIndex member : members) {
    const Cluster::Location at = cluster_.locate(member);
    place.ranks_in_domain = std::max(place.ranks_in_domain, ++ranks_of_domain[at.domain]);
    leaves.insert(at.leaf);
    groups.insert(at.group);
  }
  place.num_domains = static_cast<std::int64_t>(ranks_of_domain.size());
  place.fewest_in_domain = place.ranks_in_domain;
  for (const auto& [domain, ranks] : ranks_of_domain) {
    place.fewest_in_domain = std::min(place.fewest_in_domain, ranks);
  }
  if (place.num_domains > 1) place.widest = leaves.size() > 1 ? PathClass::spine : PathClass::rail;
  for (std::size_t index : groups) {
    const NodeGroup& group = cluster_.groups[index];
    place.shared_memory = place.shared_memory && group.scale_up.kind == ScaleUpKind::shared_memory;
    const bool is_slower = place.group && place.widest != PathClass::node && nic_rate(group) < nic_rate(*place.group);
    if (!place.group || is_slower) place.group = &group;
  }
  CHECK(place.group != nullptr);
  if (place.widest != PathClass::node) place.network = limit_.of(pattern, members);
  return place;
}

const CollectiveFit* CollectiveModel::fit(std::string_view op, PathClass path) const {
  const auto found = fits_.find({std::string(op), std::string(name_of(path))});
  return found == fits_.end() ? nullptr : &found->second;
}

BytesPerSecond CollectiveModel::port_rate(const Place& place, PathClass path) const {
  if (path != PathClass::node) return nic_rate(*place.group);
  return needed(place.group->scale_up.per_device, *place.group, "scale_up.per_device", "a bandwidth");
}

CollectiveModel::Start CollectiveModel::start_in_domain(std::string_view op, const Place& place) const {
  const auto peers = static_cast<double>(place.ranks_in_domain - 1);
  const CollectiveFit* own = fit(op, PathClass::node);
  if (own && own->latency) {
    const bool outside = place.ranks_in_domain < own->min_ranks || place.ranks_in_domain > own->max_ranks;
    return {.time = *own->latency + *own->latency_per_peer * peers, .extrapolated = outside};
  }
  const Seconds hop = needed(place.group->scale_up.latency, *place.group, "scale_up.latency", "a time");
  const double steps = op == "send_recv" ? 1.0 : (op == "all_reduce" ? 2.0 : 1.0) * peers;
  return {.time = steps * hop, .extrapolated = true};
}

CollectiveModel::Start CollectiveModel::start(std::string_view op, const Place& place) const {
  if (place.widest == PathClass::node) return start_in_domain(op, place);
  const CollectiveFit* own = fit(op, place.widest);
  if (own && own->latency) {
    const bool outside = place.num_ranks < own->min_ranks || place.num_ranks > own->max_ranks;
    return {.time = *own->latency + *own->latency_per_peer * static_cast<double>(place.num_ranks - 1),
            .extrapolated = outside};
  }
  const Seconds hop = network_latency(*place.group) + place.network.latency;
  const auto domains = static_cast<double>(place.num_domains);
  Seconds time = place.ranks_in_domain > 1 ? start_in_domain(op, place).time : Seconds::zero();
  if (op == "all_reduce") {
    time += 2.0 * ceil_log2(place.num_domains) * hop;  // up and down a tree
  } else if (op == "all_to_all") {
    // All messages are in flight together; what grows with the group is the cost of one more peer.
    const CollectiveFit* inside = fit(op, PathClass::node);
    const bool known = inside && inside->latency_per_peer;
    time = hop + (known ? *inside->latency_per_peer : hop) * static_cast<double>(place.num_ranks - 1);
  } else if (op == "send_recv") {
    time = hop;
  } else {
    time += (domains - 1.0) * hop;
  }
  return {.time = time, .extrapolated = true};
}

BytesPerSecond CollectiveModel::measured_port(const Place& place, PathClass path) const {
  const auto stated = calibrated_links_.find(std::string(name_of(path)));
  if (stated != calibrated_links_.end()) return stated->second;
  if (path == PathClass::node && place.group->device.scale_up_bandwidth) return *place.group->device.scale_up_bandwidth;
  return port_rate(place, path);
}

const std::pair<const std::int64_t, LinearCurve>* CollectiveModel::measured_sizes(std::string_view op,
                                                                                  const Place& place) const {
  const CollectiveFit* own = fit(op, PathClass::node);
  const auto table = tables_.find(op);
  if (!own || !own->rate || table == tables_.end()) return nullptr;
  // No order among group sizes is assumed: links between some devices may be better than between others.
  const auto& found = nearest(table->second, place.ranks_in_domain);
  return found.second.largest() < kLargeMessage ? nullptr : &found;
}

std::optional<CollectiveModel::Efficiency> CollectiveModel::measured_efficiency(std::string_view op, const Place& place,
                                                                                Bytes payload) const {
  const auto* sizes = measured_sizes(op, place);
  if (!sizes) return std::nullopt;
  const auto& [ranks, curve] = *sizes;
  Place same = place;
  same.ranks_in_domain = ranks;
  const Seconds start = start_in_domain(op, same).time;
  const double factor = wire_factor(op, ranks);
  Efficiency out{.fraction = 1.0, .extrapolated = ranks != place.ranks_in_domain};
  const BytesPerSecond port = measured_port(place, PathClass::node);
  if (!(payload < kSteady)) {
    out.fraction = std::min(1.0, factor * curve.end_rate() / port);
    return out;
  }
  const Bytes size = payload / factor;
  const Seconds moving = curve.at(size).time - start;
  if (moving > Seconds::zero()) out.fraction = std::min(1.0, size * factor / moving / port);
  return out;
}

CollectiveModel::Efficiency CollectiveModel::efficiency(std::string_view op, const Place& place, PathClass path,
                                                        Bytes payload) const {
  if (path == PathClass::node) {
    if (const auto measured = measured_efficiency(op, place, payload)) return *measured;
  }
  const auto fraction_of = [&](const CollectiveFit& entry, PathClass measured_on) {
    const bool stated = calibrated_links_.contains(std::string(name_of(measured_on)));
    const bool on_node = measured_on == PathClass::node;
    return std::min(1.0,
                    *entry.rate / (stated || on_node ? measured_port(place, measured_on) : port_rate(place, path)));
  };
  const CollectiveFit* own = fit(op, path);
  if (own && own->rate) {
    const bool outside = place.num_ranks < own->min_ranks || place.num_ranks > own->max_ranks;
    return {.fraction = fraction_of(*own, path), .extrapolated = outside};
  }
  // Next best: the same on the other network path, then the best that any collective reached on the path.
  std::vector<PathClass> near = {path};
  if (path != PathClass::node) near.push_back(path == PathClass::rail ? PathClass::spine : PathClass::rail);
  for (PathClass other : near) {
    if (const CollectiveFit* entry = fit(op, other); entry && entry->rate) {
      return {.fraction = fraction_of(*entry, other), .extrapolated = true};
    }
  }
  for (PathClass other : near) {
    double best = 0.0;
    for (const auto& [kind, entry] : fits_) {
      if (kind.second == name_of(other) && entry.rate) best = std::max(best, fraction_of(entry, other));
    }
    if (best > 0.0) return {.fraction = best, .extrapolated = true};
  }
  if (network_ && path != PathClass::node) return {.fraction = *network_, .extrapolated = true};
  return {.fraction = default_fraction(op), .extrapolated = true};
}

double CollectiveModel::links_in_use(std::string_view op, const Place& place) const {
  const NodeGroup& group = *place.group;
  const std::int64_t others = group.devices_per_node * group.scale_up.span_nodes - 1;
  if (group.scale_up.kind != ScaleUpKind::xgmi || others < 1) return 1.0;
  const auto used = static_cast<double>(op == "send_recv" ? 1 : place.ranks_in_domain - 1);
  if (const CollectiveFit* own = fit(op, PathClass::node); own && own->rate) {
    const auto* sizes = measured_sizes(op, place);
    const bool is_smaller = sizes && place.ranks_in_domain < sizes->first;
    return is_smaller ? used / static_cast<double>(sizes->first - 1) : 1.0;
  }
  return used / static_cast<double>(others);
}

CommTime CollectiveModel::with_legs(std::string_view op, const Place& place, Bytes inside, Bytes outside) const {
  return with_legs(op, place, inside, outside, start(op, place));
}

CommTime CollectiveModel::with_legs(std::string_view op, const Place& place, Bytes inside, Bytes outside,
                                    const Start& start) const {
  CommTime time{.latency = start.time, .legs = {}, .num_legs = 0, .extrapolated = start.extrapolated};
  const auto add = [&](PathClass path, Bytes payload) {
    if (payload <= Bytes::zero()) return;
    BytesPerSecond rate = port_rate(place, path);
    if (path != PathClass::node && place.network.rate < rate) {
      rate = place.network.rate;
      time.extrapolated = true;  // nobody measured there
    }
    if (std::isinf(rate.in(unit::byte_per_second))) return;  // "unlimited" never takes time
    const Efficiency reached = efficiency(op, place, path, start.share ? kSteady : payload);
    time.extrapolated = time.extrapolated || reached.extrapolated;
    const double links = path == PathClass::node ? links_in_use(op, place) : 1.0;
    const double left = reached.fraction * start.share.value_or(1.0) * links;
    time.legs[static_cast<std::size_t>(time.num_legs++)] = {
        .path = path, .bytes = whole(payload / left), .bandwidth = rate};
  };
  add(PathClass::node, inside);
  add(place.widest, outside);
  return time;
}

bool CollectiveModel::has_table(std::string_view op) const { return tables_.find(op) != tables_.end(); }

CommTime CollectiveModel::measured(std::string_view op, const Place& place, Bytes wire) const {
  const auto& [ranks, curve] = nearest(tables_.find(op)->second, place.num_ranks);
  const LinearCurve::Value value = curve.at(wire / wire_factor(op, ranks));
  return {.latency = value.time, .legs = {}, .num_legs = 0, .extrapolated = !value.inside || ranks != place.num_ranks};
}

CommTime CollectiveModel::collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const {
  const Place place = place_of(members, pattern_of(shape.kind));
  const std::string_view op = curve_name(shape.kind);
  const Bytes wire = wire_bytes(shape, place.num_ranks);
  if (place.shared_memory && place.widest == PathClass::node && has_table(op)) return measured(op, place, wire);
  const auto domain = static_cast<double>(place.ranks_in_domain), ranks = static_cast<double>(place.num_ranks);
  const auto fewest = static_cast<double>(place.fewest_in_domain);
  if (shape.kind == CollectiveKind::ring_shift) {
    const Bytes outside = place.num_domains > 1 ? wire : Bytes::zero();  // one of a domain leaves it
    return message(place, place.ranks_in_domain > 1 ? wire : Bytes::zero(), outside);
  }
  if (shape.kind == CollectiveKind::all_to_all) {
    return all_to_all(place, wire * ((domain - 1.0) / (ranks - 1.0)), wire * ((ranks - fewest) / (ranks - 1.0)));
  }
  if (needs_nccl(op, place)) return by_nccl(shape, place);
  if (place.widest == PathClass::node) return with_legs(op, place, wire, {});
  // Rings through all nodes, one for each member of a node: each enters and leaves a node through another NIC.
  return with_legs(op, place, wire * ((domain - 1.0) / domain), wire / fewest);
}

CommTime CollectiveModel::exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                                   std::span<const DeviceIndex> members) const {
  CHECK(routing.group == static_cast<std::int64_t>(members.size()), routing.group, members.size());
  const Place place = place_of(members, TrafficPattern::all_pairs);
  const std::size_t n = members.size();
  std::vector<std::int64_t> domain(n);
  for (std::size_t i = 0; i < n; ++i) domain[i] = cluster_.locate(members[i]).domain;
  // Tokens that were counted say what each rank sends; how many copies cross between domains they do not say.
  const bool counted = shape.two_level && place.num_domains == 1 && !routing.tokens.empty();
  const auto payload_of = [&](std::size_t i, std::size_t j) {
    const auto from = static_cast<std::int64_t>(i), to = static_cast<std::int64_t>(j);
    const double rows = counted ? routing.tokens_sent(from, to) : routing.sent(from, to);
    return bytes(rows * static_cast<double>(shape.row_bytes) + static_cast<double>(shape.count_bytes));
  };
  // By member: sent and received, within the domain and beyond.
  std::vector<std::array<Bytes, 4>> loads(n);
  const auto differs = [&](double pairs) { return pairs != routing.pairs.front(); };
  if (!counted && std::none_of(routing.pairs.begin(), routing.pairs.end(), differs)) {
    // A balanced router sends the same everywhere, so that only the number of others counts.
    std::vector<Bytes> to_others(n);
    for (std::size_t i = 1; i < n; ++i) to_others[i] = to_others[i - 1] + payload_of(0, 1);
    std::map<std::int64_t, std::size_t> ranks_of_domain;
    for (const std::int64_t of_member : domain) ++ranks_of_domain[of_member];
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t in_domain = ranks_of_domain[domain[i]];
      const Bytes within = to_others[in_domain - 1], beyond = to_others[n - in_domain];
      loads[i] = {within, within, beyond, beyond};
    }
  } else {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        if (i == j) continue;
        const Bytes payload = payload_of(i, j);
        const std::size_t beyond = domain[i] == domain[j] ? 0 : 2;
        loads[i][beyond] += payload;
        loads[j][beyond + 1] += payload;
      }
    }
  }
  Bytes inside, outside, busiest;
  for (const std::array<Bytes, 4>& load : loads) {
    inside = std::max({inside, load[0], load[1]});
    outside = std::max({outside, load[2], load[3]});
    busiest = std::max({busiest, load[0] + load[2], load[1] + load[3]});
  }
  constexpr std::string_view kOp = "all_to_all";
  const bool is_measured = place.shared_memory && place.widest == PathClass::node && has_table(kOp);
  if (is_measured && (counted || !shape.two_level)) return measured(kOp, place, busiest);
  if (counted) return all_to_all(place, inside, outside);
  if (shape.two_level) {
    // One copy crosses the network for each domain that a token needs; inside, one for each rank, in one domain too.
    const auto top_k = static_cast<double>(shape.top_k), domains = static_cast<double>(place.num_domains);
    const double to_domains =
        expected_nodes(routing.num_experts, shape.top_k, place.num_domains, shape.num_groups, shape.top_k_groups) /
        top_k;
    const double to_ranks = expected_distinct(routing.num_experts, shape.top_k, place.num_ranks) / top_k;
    if (is_measured) return measured(kOp, place, busiest * to_ranks);
    // Rows that leave a rank are those for others; a copy is left out for the own domain, then for the own rank in it.
    const auto ranks = static_cast<double>(place.num_ranks), in_domain = static_cast<double>(place.ranks_in_domain);
    const Bytes all = (inside + outside) * (ranks / (ranks - 1.0));
    return all_to_all(place, all * (to_ranks * (in_domain - 1.0) / in_domain),
                      all * (to_domains * (domains - 1.0) / domains));
  }
  return all_to_all(place, inside, outside);
}

CommTime CollectiveModel::copy(const CopyShape& shape, DeviceIndex device) const {
  const NodeGroup& group = cluster_.groups[cluster_.locate(device).group];
  const BytesPerSecond rate = needed(group.host.pcie, group, "host.pcie", "a bandwidth, since the plan offloads");
  return {.latency = bytes(static_cast<double>(shape.bytes)) / rate, .legs = {}, .num_legs = 0, .extrapolated = true};
}

CommTime CollectiveModel::peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const {
  const DeviceIndex ends[] = {from, to};
  const Place place = place_of(ends, TrafficPattern::shift);
  constexpr std::string_view kOp = "send_recv";
  const Bytes payload = bytes(static_cast<double>(shape.bytes));
  if (place.widest != PathClass::node) return message(place, {}, payload);
  if (place.shared_memory && has_table(kOp)) return measured(kOp, place, payload);
  return message(place, payload, {});
}

}  // namespace orrery::costmodel
