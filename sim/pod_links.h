// SPDX-License-Identifier: Apache-2.0
// Pods of a tree whose spines pass on less than they take in (Fabric::pods). All links between a pod and the cores are
// taken for one, as the uplinks of a leaf are: balanced paths load them equally. Only flows from pod to pod have it on
// their way, as a route beside the ports of nodes and leaves (sim/routes.h).
#pragma once

#include "program/cluster.h"

#include <cstdint>
#include <vector>

namespace orrery::sim {

class PodLinks {
 public:
  explicit PodLinks(const Cluster& cluster);

  /// Whether links above spines can be full before those of the leaves below are.
  bool bind() const { return bind_; }
  /// Of any node of the cluster, numbered over the cluster. Requires: bind().
  std::int64_t of(std::int64_t node) const { return pod_of_node_[static_cast<std::size_t>(node)]; }
  /// Where `at` is if pods were leaves.
  Cluster::Location as_leaf(Cluster::Location at) const {
    at.leaf = of(at.node);
    return at;
  }
  /// All links of the pod of `node` to the cores, each way. Throws: ConfigError if the cluster does not give it.
  BytesPerSecond links_of(std::int64_t node) const;
  /// What a node has of them when all nodes of its pod send.
  BytesPerSecond share_of(std::int64_t node) const;

 private:
  Cluster cluster_;
  bool bind_ = false;
  std::vector<std::int64_t> pod_of_node_;
};

}  // namespace orrery::sim
