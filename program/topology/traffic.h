// SPDX-License-Identifier: Apache-2.0
// What a pattern of traffic puts on every link, and how long the busiest one takes. This is the bound that routes set:
// no latency, no protocol, nobody else on the links.
#pragma once

#include "program/topology/topology.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace orrery::topology {

struct LinkLoads {
  std::vector<Bytes> of;  // by link

  /// The link whose load takes longest at its bandwidth; none: no link is loaded. Unknown bandwidths count as
  /// unlimited.
  LinkIndex busiest(const LinkGraph& graph) const;
  /// What the busiest link takes.
  Seconds time(const LinkGraph& graph) const;
};

/// Traffic is collected once and can then be spread over equal ways again and again.
/// Complexity: memory of num_nics^2 numbers.
class Traffic {
 public:
  explicit Traffic(const Topology& topology);

  /// Returns whether there is a way.
  bool send(DeviceIndex from, DeviceIndex to, Bytes size);

  /// All ways balanced, or, with a seed, every pair of NICs on ways of its own that are drawn.
  LinkLoads loads(std::optional<std::uint64_t> seed = {}) const;

 private:
  const Topology& topology_;
  LinkLoads ends_;            // on the links between devices and NICs
  std::vector<Bytes> flows_;  // by NICs, from and to
};

/// Every member sends `size` to every other one. Requires: all members reach each other.
Traffic all_to_all(const Topology& topology, std::span<const DeviceIndex> members, Bytes size);

/// Every member sends `size` to the next one, the last to the first. Requires: they reach each other.
Traffic ring(const Topology& topology, std::span<const DeviceIndex> members, Bytes size);

}  // namespace orrery::topology
