// SPDX-License-Identifier: Apache-2.0
// Time of communication on a cluster: alpha-beta for each path class, with rings for collectives and pairwise exchange
// for all-to-all. Bandwidths are those of the cluster's ports; what a library does not reach of them enters as more
// bytes on the link. Within shared memory there are no ports: measured times are interpolated as they are.
// Formulas and their sources: docs/design/collectives.md.
#pragma once

#include "costmodel/calibration.h"
#include "costmodel/cost_model.h"
#include "costmodel/linear_curve.h"
#include "costmodel/nccl_tuning.h"
#include "costmodel/network_limit.h"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery::costmodel {

class CollectiveModel {
 public:
  /// Fits the calibration's collectives if it carries no fits.
  CollectiveModel(Cluster cluster, const Calibration& calibration);

  /// Requires for all three: at least two different devices.
  /// Throws: ConfigError if the cluster does not know a rate or a latency that is needed.
  CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const;
  CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                    std::span<const DeviceIndex> members) const;
  /// At the rate of the host's port: nothing was measured.
  CommTime copy(const CopyShape& shape, DeviceIndex device) const;
  CommTime peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const;

 private:
  /// Where a group lies.
  struct Place {
    std::int64_t num_ranks = 0, num_domains = 0;
    std::int64_t ranks_in_domain = 0;   // of the fullest
    std::int64_t fewest_in_domain = 0;  // whose NICs carry most each
    PathClass widest = PathClass::node;
    const NodeGroup* group = nullptr;  // with the slowest ports
    bool shared_memory = false;
    NetworkLimit::Limit network = {};  // of the switches, for the traffic at hand
  };
  struct Start {
    Seconds time;
    bool extrapolated = false;
    /// Of the links' steady rate, what a protocol of NCCL leaves. Absent: the rate that was measured at the size says
    /// it.
    std::optional<double> share = {};
  };
  struct Efficiency {
    double fraction = 1.0;
    bool extrapolated = false;
  };

  Place place_of(std::span<const DeviceIndex> members, TrafficPattern pattern) const;
  const CollectiveFit* fit(std::string_view op, PathClass path) const;
  Start start(std::string_view op, const Place& place) const;
  Start start_in_domain(std::string_view op, const Place& place) const;
  /// Measured times within a domain, of the group size next to the place's; null: no large messages were measured.
  const std::pair<const std::int64_t, LinearCurve>* measured_sizes(std::string_view op, const Place& place) const;
  /// For `payload` on the wire of one rank; infinite: the steady rate.
  Efficiency efficiency(std::string_view op, const Place& place, PathClass path, Bytes payload) const;
  /// The same within a domain, from measured_sizes; nothing without.
  std::optional<Efficiency> measured_efficiency(std::string_view op, const Place& place, Bytes payload) const;
  /// Of a device's links within its domain, those that lead to members, where each device is linked with each other;
  /// over those of the group that `op` was measured with, if that is larger, and 1 for one that was measured or is
  /// larger.
  double links_in_use(std::string_view op, const Place& place) const;
  BytesPerSecond port_rate(const Place& place, PathClass path) const;
  /// Rate of the port that a fit for `path` was measured on.
  BytesPerSecond measured_port(const Place& place, PathClass path) const;
  CommTime with_legs(std::string_view op, const Place& place, Bytes inside, Bytes outside, const Start& start) const;
  CommTime with_legs(std::string_view op, const Place& place, Bytes inside, Bytes outside) const;
  /// Whether the tables of NCCL or, within a domain, of RCCL say how it starts, and nobody measured it.
  bool needs_nccl(std::string_view op, const Place& place) const;
  NcclGroup nccl_group(const Place& place) const;
  std::vector<NcclEstimate> estimates(const Place& place, NcclOp kind, Bytes size) const;
  /// What a call within a domain takes to start beyond the tables' figure, at the measured group next to the place's.
  Seconds beyond_tables(std::string_view op, NcclOp kind, const Place& place) const;
  /// The least over the library's algorithms and protocols.
  CommTime by_nccl(const CollectiveShape& shape, const Place& place) const;
  /// Messages, or an exchange that is made of them: one step of a ring, and `peers` for those beyond the first.
  CommTime by_messages(std::string_view op, const Place& place, Bytes inside, Bytes outside, Seconds peers) const;
  CommTime message(const Place& place, Bytes inside, Bytes outside) const;
  CommTime all_to_all(const Place& place, Bytes inside, Bytes outside) const;
  /// From the table of shared memory; `wire`: bytes that leave the busiest rank.
  CommTime measured(std::string_view op, const Place& place, Bytes wire) const;
  bool has_table(std::string_view op) const;

  Cluster cluster_;
  NetworkLimit limit_;
  std::map<std::pair<std::string, std::string>, CollectiveFit> fits_;
  std::map<std::string, BytesPerSecond> calibrated_links_;
  std::optional<double> network_;  // of a NIC's rate, where a calibration states it
  /// By op and ranks: time over nccl-tests' size, within a node.
  std::map<std::string, std::map<std::int64_t, LinearCurve>, std::less<>> tables_;
};

}  // namespace orrery::costmodel
