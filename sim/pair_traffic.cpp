// SPDX-License-Identifier: Apache-2.0
#include "sim/pair_traffic.h"

#include "base/check.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

namespace orrery::sim {
namespace {

using costmodel::Leg;
using costmodel::PathClass;

/// Members of one scale-up domain, by device.
using Domain = std::vector<std::uint32_t>;

Bytes bytes_of_legs(const costmodel::CommTime& time, bool network) {
  Bytes sum;
  for (const Leg& leg : time.used_legs()) {
    if (is_network(leg.path) == network) sum += leg.bytes;
  }
  return sum;
}

double busiest(const std::vector<std::array<double, 2>>& loads) {
  double most = 0.0;
  for (const auto& load : loads) most = std::max({most, load[0], load[1]});
  return most;
}

class Traffic {
 public:
  Traffic(std::span<const Cluster::Location> members, const costmodel::CommTime& time, const Payload& payload)
      : members_(members), time_(time), payload_(payload), position_(members.size()), domain_of_(members.size()) {
    std::vector<std::uint32_t> order(members.size());
    std::iota(order.begin(), order.end(), 0U);
    std::ranges::sort(
        order, {}, [&](std::uint32_t m) { return std::tuple(members[m].domain, members[m].node, members[m].index); });
    for (const std::uint32_t member : order) {
      if (domains_.empty() || members[domains_.back().front()].domain != members[member].domain) domains_.push_back({});
      domain_of_[member] = domains_.size() - 1;
      position_[member] = domains_.back().size();
      domains_.back().push_back(member);
    }
  }

  std::vector<PairBytes> of(Pattern pattern) {
    switch (pattern) {
      case Pattern::message:
        add(0, 1, 1.0);
        break;
      case Pattern::shift:
        for (std::uint32_t i = 0; i < size(); ++i) add(i, (i + 1) % size(), 1.0);
        break;
      case Pattern::ring:
        rings();
        break;
      case Pattern::all_to_all:
        for_each_pair([&](std::uint32_t i, std::uint32_t j) { add(i, j, payload(i, j)); });
        break;
      case Pattern::two_level:
        two_levels();
        break;
    }
    for (const bool network : {false, true}) scale(network);
    std::erase_if(pairs_, [](const PairBytes& pair) { return pair.size <= Bytes::zero(); });
    std::ranges::stable_sort(pairs_, {}, &PairBytes::from);
    return std::move(pairs_);
  }

 private:
  std::uint32_t size() const { return static_cast<std::uint32_t>(members_.size()); }

  double payload(std::uint32_t from, std::uint32_t to) const {
    return payload_.empty() ? 1.0 : payload_[std::size_t{from} * size() + to];
  }

  /// First within domains, then from each to the next one, and so on. Where domains have as many members, all send to
  /// different members at each step: a send that goes on step by step meets no other at its receiver.
  template <class Function>
  void for_each_pair(Function function) const {
    for (std::uint32_t i = 0; i < size(); ++i) {
      for (std::size_t k = 0; k < domains_.size(); ++k) {
        const Domain& domain = domains_[(domain_of_[i] + k) % domains_.size()];
        for (std::size_t j = k == 0 ? 1 : 0; j < domain.size(); ++j) {
          function(i, domain[(position_[i] + j) % domain.size()]);
        }
      }
    }
  }

  void add(std::uint32_t from, std::uint32_t to, double weight) {
    PathClass path = PathClass::node;
    if (domain_of_[from] != domain_of_[to]) {
      path = members_[from].leaf == members_[to].leaf ? PathClass::rail : PathClass::spine;
    }
    pairs_.push_back({.from = from, .to = to, .path = path, .size = bytes(weight)});
  }

  /// Within a domain all rings run from each member to the next; each enters and leaves it at another position.
  void rings() {
    std::size_t num_rings = size();
    for (const Domain& domain : domains_) num_rings = std::min(num_rings, domain.size());
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      const Domain &domain = domains_[d], &next = domains_[(d + 1) % domains_.size()];
      for (std::size_t i = 0; i < domain.size(); ++i) {
        if (domain.size() > 1) add(domain[i], domain[(i + 1) % domain.size()], 1.0);
        if (domains_.size() > 1 && i < num_rings) add(domain[i], next[i], 1.0);
      }
    }
  }

  /// The member of `domain` that hands on what `sender` has for it.
  std::uint32_t twin(std::uint32_t sender, const Domain& domain) const {
    return domain[position_[sender] % domain.size()];
  }

  void two_levels() {
    for (std::uint32_t i = 0; i < size(); ++i) {
      for (std::size_t k = 1; k < domains_.size(); ++k) {
        const Domain& domain = domains_[(domain_of_[i] + k) % domains_.size()];
        double weight = 0.0;
        for (const std::uint32_t j : domain) weight += payload(i, j);
        add(i, twin(i, domain), weight);
      }
    }
    for (const Domain& domain : domains_) {
      std::vector<double> handed(domain.size() * domain.size());
      for (std::uint32_t i = 0; i < size(); ++i) {
        const std::size_t through = position_[twin(i, domain)];
        for (std::size_t to = 0; to < domain.size(); ++to) {
          handed[through * domain.size() + to] += payload(i, domain[to]);
        }
      }
      for (std::size_t from = 0; from < domain.size(); ++from) {
        for (std::size_t k = 1; k < domain.size(); ++k) {
          const std::size_t to = (from + k) % domain.size();
          add(domain[from], domain[to], handed[from * domain.size() + to]);
        }
      }
    }
  }

  /// From weights to bytes.
  void scale(bool network) {
    const double most = busiest(loads_of(pairs_, network));
    const Bytes leg = bytes_of_legs(time_, network);
    for (PairBytes& pair : pairs_) {
      if (is_network(pair.path) == network) pair.size = pair.size.in(unit::byte) / most * leg;
    }
  }

  std::span<const Cluster::Location> members_;
  const costmodel::CommTime& time_;
  const Payload& payload_;
  std::vector<std::size_t> position_;   // by member: in its domain
  std::vector<std::size_t> domain_of_;  // by member
  std::vector<Domain> domains_;
  std::vector<PairBytes> pairs_;  // with weights in place of bytes until scale()
};

/// What takes longest, each for itself: an end with the links of so many members, a leaf's uplinks, a pod's.
struct Busiest {
  double end = 0.0, leaf = 0.0, pod = 0.0;
};

Busiest busiest(std::span<const PairBytes> pairs, bool network, std::span<const PairEnd> ends) {
  Busiest found;
  const auto loads = loads_of(pairs, network);
  for (std::size_t i = 0; i < loads.size(); ++i) {
    found.end = std::max({found.end, loads[i][0] / ends[i].out, loads[i][1] / ends[i].in});
  }
  const auto most = [&](std::optional<std::int64_t> PairEnd::* above) {
    std::map<std::pair<std::int64_t, bool>, double> sums;  // by leaf or pod, out and in
    double largest = 0.0;
    for (const PairBytes& pair : pairs) {
      const auto from = ends[pair.from].*above, to = ends[pair.to].*above;
      if (is_network(pair.path) != network || !from || !to || *from == *to) continue;
      for (const auto& key : {std::pair(*from, false), std::pair(*to, true)}) {
        largest = std::max(largest, sums[key] += pair.size.in(unit::byte));
      }
    }
    return largest;
  };
  found.leaf = most(&PairEnd::leaf);
  found.pod = most(&PairEnd::pod);
  return found;
}

}  // namespace

std::vector<PairBytes> pair_traffic(Pattern pattern, std::span<const Cluster::Location> members,
                                    const costmodel::CommTime& time, const Payload& payload) {
  CHECK(members.size() >= 2 && (pattern != Pattern::message || members.size() == 2), members.size());
  return Traffic(members, time, payload).of(pattern);
}

std::vector<std::array<double, 2>> loads_of(std::span<const PairBytes> pairs, bool network) {
  std::vector<std::array<double, 2>> loads;
  for (const PairBytes& pair : pairs) {
    if (is_network(pair.path) != network) continue;
    loads.resize(std::max<std::size_t>({loads.size(), pair.from + std::size_t{1}, pair.to + std::size_t{1}}));
    loads[pair.from][0] += pair.size.in(unit::byte);
    loads[pair.to][1] += pair.size.in(unit::byte);
  }
  return loads;
}

std::vector<PairBytes> between_ends(std::span<const PairBytes> pairs, std::span<const std::uint32_t> from_of_member,
                                    const std::array<std::vector<std::uint32_t>, 2>& to_of_member) {
  std::vector<PairBytes> sums;
  std::map<std::tuple<std::uint32_t, std::uint32_t, PathClass, RouteIndex>, std::size_t> known;
  for (const PairBytes& pair : pairs) {
    const std::uint32_t from = from_of_member[pair.from];
    const std::uint32_t to = to_of_member[is_network(pair.path) ? 1 : 0][pair.to];
    const auto [sum, is_new] = known.try_emplace({from, to, pair.path, pair.route}, sums.size());
    if (is_new) sums.push_back({.from = from, .to = to, .path = pair.path, .size = {}, .route = pair.route});
    sums[sum->second].size += pair.size;
  }
  std::ranges::stable_sort(sums, {}, &PairBytes::from);
  return sums;
}

void quantise(std::vector<PairBytes>& pairs, bool network, std::span<const PairEnd> ends) {
  const Busiest before = busiest(pairs, network, ends);
  double largest = 0.0;
  for (const PairBytes& pair : pairs) {
    if (is_network(pair.path) == network) largest = std::max(largest, pair.size.in(unit::byte));
  }
  std::vector<std::array<double, 2>> error(ends.size());  // what sender and receiver have too much by now
  for (PairBytes& pair : pairs) {
    if (is_network(pair.path) != network) continue;
    const double size = pair.size.in(unit::byte);
    const double steps = std::floor(4.0 * std::log2(largest / size) + 1e-9);
    const double up = largest * std::exp2(-steps / 4.0), down = largest * std::exp2(-(steps + 1.0) / 4.0);
    double &sender = error[pair.from][0], &receiver = error[pair.to][1];
    const auto after = [&](double rounded) {
      const double change = rounded - size;
      return (sender + change) * (sender + change) + (receiver + change) * (receiver + change);
    };
    const double rounded = after(up) <= after(down) ? up : down;
    sender += rounded - size;
    receiver += rounded - size;
    pair.size = bytes(rounded);
  }
  const Busiest after = busiest(pairs, network, ends);
  double factor = after.end > 0.0 ? before.end / after.end : 1.0;
  if (after.leaf > 0.0) factor = std::max(factor, before.leaf / after.leaf);
  if (after.pod > 0.0) factor = std::max(factor, before.pod / after.pod);
  for (PairBytes& pair : pairs) {
    if (is_network(pair.path) == network) pair.size *= factor;
  }
}

}  // namespace orrery::sim
