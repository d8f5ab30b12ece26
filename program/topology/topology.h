// SPDX-License-Identifier: Apache-2.0
// A cluster as a graph of links, and the route of every pair of devices on it: by the scale-up domain where there is
// one, else by the host, a NIC and the network of the group, or through a gateway to another group. What it is not: the
// path classes that times are predicted by; those know ports and no switches. The two are compared in the tests, and
// `orrery topology` shows both.
#pragma once

#include "program/cluster.h"
#include "program/topology/network.h"

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace orrery::topology {

class Topology {
 public:
  /// Bandwidths that the cluster does not know stay unknown on the links.
  explicit Topology(const Cluster& cluster);

  const Cluster& cluster() const { return cluster_; }
  const LinkGraph& graph() const { return graph_; }
  PlaceIndex place_of(DeviceIndex device) const { return devices_[device.index()].place; }
  std::int64_t num_devices() const { return static_cast<std::int64_t>(devices_.size()); }
  std::int64_t num_nics() const { return static_cast<std::int64_t>(nics_.size()); }
  std::int64_t count(PlaceKind kind) const { return counts_[static_cast<std::size_t>(kind)]; }

  /// A flow's part between two NICs of one group, which only the network's ways decide about.
  struct NicFlow {
    std::size_t from = 0, to = 0;  // of num_nics()
    double share = 1.0;
  };

  /// Visits the links at both ends with their shares, and the NICs between which the rest goes; both are empty for a
  /// device and itself. A device sends by the NIC of its scale-up domain that is on the rail of the receiver's.
  /// Returns whether there is a way.
  bool route_to_nics(DeviceIndex from, DeviceIndex to, const LinkVisitor& visit,
                     const std::function<void(NicFlow)>& between) const;
  /// The ways of the flow between two NICs when a hash with `seed` draws them.
  Ways drawn(std::uint64_t seed, const NicFlow& flow) const {
    return Ways::drawn(seed, flow.from * nics_.size() + flow.to);
  }
  /// Visits the links from a NIC to another one, both cables to the switches included.
  void route_nics(NicFlow flow, const Ways& ways, const LinkVisitor& visit) const;
  /// All of it. Returns whether there is a way.
  bool route(DeviceIndex from, DeviceIndex to, const Ways& ways, const LinkVisitor& visit) const;

 private:
  struct DeviceEnd {
    PlaceIndex place;
    LinkIndex scale_up;  // towards the domain; none: it is alone
    LinkIndex pcie;      // towards the host
    Cluster::Location at;
  };
  struct NicEnd {
    LinkIndex slot;   // from the host
    LinkIndex cable;  // to the switch
    PlaceIndex port;  // the switch
    std::int64_t rail = 0;
    std::size_t group = 0;
  };
  struct Node {
    PlaceIndex host;
    std::size_t group = 0;
    std::size_t first_device = 0, first_nic = 0;
    std::map<std::size_t, LinkIndex> gateways;  // from the host, by the group that they lead to
  };

  void add_node(std::size_t group, std::int64_t node_in_group, std::map<std::int64_t, PlaceIndex>& domains);
  void add_gateways();
  /// The NICs of its node by which a device sends to one on `rail`: its own, or else a neighbour's that is on the rail.
  /// Without a domain to reach it by, its own if switches join the two rails.
  std::vector<std::int64_t> senders_for(std::size_t group, std::int64_t device, std::int64_t rail) const;
  void leave_by(const DeviceEnd& from, std::int64_t nic, double share, const LinkVisitor& visit) const;
  bool route_by_gateway(const DeviceEnd& from, const DeviceEnd& to, const LinkVisitor& visit) const;

  Cluster cluster_;
  LinkGraph graph_;
  std::vector<DeviceEnd> devices_;
  std::vector<NicEnd> nics_;
  std::vector<Node> nodes_;
  std::vector<std::unique_ptr<Network>> networks_;                            // by group; null: none
  std::vector<std::vector<std::vector<std::vector<std::int64_t>>>> senders_;  // by group, device of a node, rail
  std::array<std::int64_t, kNumPlaceKinds> counts_ = {};
};

}  // namespace orrery::topology
