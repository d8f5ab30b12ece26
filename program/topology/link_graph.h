// SPDX-License-Identifier: Apache-2.0
// A cluster as places and the links between them. Every cable is two links, one for each direction, since nothing that
// goes one way takes bandwidth from the other. Flat vectors: what needs an algorithm on graphs makes its own
// (topology/cuts.h).
#pragma once

#include "base/ids.h"
#include "base/units.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace orrery::topology {

using PlaceIndex = Id<struct PlaceTag>;
using LinkIndex = Id<struct LinkTag>;

/// In the order in which they lie above each other in a picture, from below.
enum class PlaceKind : std::uint8_t { scale_up, device, host, nic, leaf, router, gateway, spine, core };
inline constexpr std::size_t kNumPlaceKinds = 9;

/// `slot`: between host and NIC, where nothing is known to limit. `hop`: between routers of a torus or of one group of
/// a dragonfly. `global`: between groups of a dragonfly.
enum class LinkKind : std::uint8_t { scale_up, pcie, slot, nic, uplink, core, hop, global, gateway };
inline constexpr std::size_t kNumLinkKinds = 9;

inline bool is_between_switches(LinkKind kind) {
  return kind == LinkKind::uplink || kind == LinkKind::core || kind == LinkKind::hop || kind == LinkKind::global;
}

struct Place {
  PlaceKind kind = PlaceKind::device;
  std::string name;
  std::size_t group = 0;   // of the cluster; a gateway's is that of its first
  std::int64_t plane = 0;  // of a spine
};

struct Link {
  PlaceIndex from, to;
  LinkKind kind = LinkKind::scale_up;
  std::optional<BytesPerSecond> bandwidth;  // infinite: unlimited; absent: unknown
};

inline constexpr BytesPerSecond kUnlimited = BytesPerSecond::from_si(std::numeric_limits<double>::infinity());

struct LinkGraph {
  std::vector<Place> places;
  std::vector<Link> links;

  PlaceIndex add(Place place) {
    places.push_back(std::move(place));
    return PlaceIndex(static_cast<std::int32_t>(places.size() - 1));
  }

  /// A cable: returns the link from `a` to `b`; reverse() is the other.
  LinkIndex join(PlaceIndex a, PlaceIndex b, LinkKind kind, std::optional<BytesPerSecond> bandwidth) {
    links.push_back({.from = a, .to = b, .kind = kind, .bandwidth = bandwidth});
    links.push_back({.from = b, .to = a, .kind = kind, .bandwidth = bandwidth});
    return LinkIndex(static_cast<std::int32_t>(links.size() - 2));
  }

  const Place& operator[](PlaceIndex place) const { return places[place.index()]; }
  const Link& operator[](LinkIndex link) const { return links[link.index()]; }
};

/// The same cable the other way.
inline LinkIndex reverse(LinkIndex link) { return LinkIndex(link.value() ^ 1); }

}  // namespace orrery::topology
