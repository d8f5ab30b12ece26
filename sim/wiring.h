// SPDX-License-Identifier: Apache-2.0
// The links between the members of one communication, as the cluster file wires them: each device's scale-up port, the
// NICs that it sends by, the uplinks of its leaf, those above the spines of its pod. All of them exist once in each
// direction. Written for bounds (sim/least_time.h), and so shares nothing with what it is to judge: neither the cost
// model's legs nor the platform. What is unknown or unlimited is infinitely fast here, which keeps a bound a bound.
#pragma once

#include "program/cluster.h"
#include "program/topology/topology.h"

#include <cstddef>
#include <span>
#include <vector>

namespace orrery::sim {

struct Wiring {
  /// Devices that some link leads out of: those of a scale-up domain, those below a leaf, those of a pod.
  struct Part {
    double num_members = 0.0;
    BytesPerSecond out;  // of all links by which its members leave it
  };
  struct Member {
    std::size_t domain = 0, leaf = 0, pod = 0;  // into the parts
    std::size_t nic = 0;                        // into nics; a link that others may share
    BytesPerSecond scale_up;
    bool reduces_in_switch = false;  // NVLink: its switches can add up what devices send
  };

  std::vector<Member> members;  // as they were given
  std::vector<BytesPerSecond> nics;
  std::vector<Part> domains, leaves, pods;
  bool leaves_hold_domains = true;  // no domain reaches below two leaves
  Seconds latency;                  // of one way between two members of the widest path, the least that is stated
};

/// NICs are divided evenly among the devices of a node; where there are fewer, neighbours share one; where the numbers
/// do not divide, all NICs of the node are one link. So they are, of the whole domain, where the domains have different
/// numbers of members: a lone member may then use its neighbours' NICs.
/// Without `uplinks` leaves and pods have infinitely fast ones.
/// With `routers`, the topology of the cluster, leaves are routers with all their cables to others, and pods the groups
/// of a dragonfly.
Wiring wiring_of(const Cluster& cluster, std::span<const DeviceIndex> members, bool uplinks,
                 const topology::Topology* routers = nullptr);

}  // namespace orrery::sim
