// SPDX-License-Identifier: Apache-2.0
// What the switches between NICs allow a group that is alone on them: its traffic on the routes of the topology, and
// the busiest link between two switches. Only networks that can be slower than their NICs have such a limit: routers,
// oversubscribed leaves, pods. For any other, NICs are all there is, and nothing here is computed.
#pragma once

#include "program/topology/topology.h"

#include <cstdint>
#include <memory>
#include <span>

namespace orrery::costmodel {

/// Who sends to whom in a collective, as far as the network sees it.
enum class TrafficPattern : std::uint8_t {
  all_pairs,     // every member to every other one
  domain_rings,  // from domain to domain, each member to its like in the next one
  shift,         // every member to the next in group order
};

class NetworkLimit {
 public:
  explicit NetworkLimit(const Cluster& cluster);

  struct Limit {
    /// Of what each NIC's member sends beyond its domain; infinite: the switches do not limit.
    BytesPerSecond rate = topology::kUnlimited;
    /// Of further routers on the longest way.
    Seconds latency;
  };

  /// Largest per-member rate = bytes that a member sends beyond its domain / max over links between switches (load /
  /// bandwidth), equal ways balanced.
  /// Throws: ConfigError if the bandwidth or the latency of a link between routers that is needed is unknown.
  /// Complexity: the routes of all pairs of the pattern.
  Limit of(TrafficPattern pattern, std::span<const DeviceIndex> members) const;

 private:
  std::shared_ptr<const topology::Topology> topology_;  // null: no limit
};

}  // namespace orrery::costmodel
