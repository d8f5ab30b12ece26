// SPDX-License-Identifier: Apache-2.0
// How long an op takes when nothing disturbs it, and how ops disturb each other on one device. The analytic and the
// SimGrid interpreter ask the same CostModel, so they agree to 1e-9 wherever no link is shared.
#pragma once

#include "base/units.h"
#include "program/cluster.h"
#include "program/load_model.h"
#include "program/op.h"
#include "program/work.h"

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace orrery::costmodel {

struct OpTime {
  Seconds time;
  bool extrapolated = false;  // the shape or the device lies outside what was measured
  /// How much longer it takes per second of work while a communication runs beside it, where the op itself says: waves
  /// that do not fit on the multiprocessors that are left. Absent: as the device's OverlapRule says.
  std::optional<double> slowdown = {};
  /// The same beside an exchange of tokens whose kernels hold more multiprocessors; absent: no more than others.
  std::optional<double> slowdown_by_exchange = {};
};

/// Where a message travels: within a scale-up domain, between nodes under one leaf, or across the spine.
enum class PathClass : std::uint8_t { node, rail, spine };

/// Whether it leaves its domain, and so uses NICs.
constexpr bool is_network(PathClass path) { return path != PathClass::node; }

/// The part of a communication that uses one path class: each member's port carries `bytes` at `bandwidth`.
/// Bytes are whole, and are what occupies the link: payload over protocol efficiency, rounded up.
struct Leg {
  PathClass path = PathClass::node;
  Bytes bytes;
  BytesPerSecond bandwidth;
};

/// A communication as all its members see it: a latency, then all legs at the same time.
struct CommTime {
  Seconds latency;
  std::array<Leg, 3> legs;
  int num_legs = 0;
  bool extrapolated = false;

  std::span<const Leg> used_legs() const { return std::span(legs).first(static_cast<std::size_t>(num_legs)); }
  /// Time when no link is shared with anybody: latency + the slowest leg.
  Seconds alone() const;
};

/// What happens on a device while compute and communication run at the same time: each runs at 1 / (1 + slowdown) of
/// its speed for as long as the other is there. This is the rate rule that both interpreters follow.
/// Source: docs/design/overlap.md.
struct OverlapRule {
  double compute_slowdown = 0.0;
  double comm_slowdown = 0.0;
};

class CostModel {
 public:
  virtual ~CostModel() = default;

  /// Time of a compute op. Requires: the op is on Queue::compute.
  virtual OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                         DeviceIndex device) const = 0;
  /// Time of a collective over `members` (devices in group order). Requires: its rows are resolved into its bytes.
  virtual CommTime collective(const CollectiveShape& shape, std::span<const DeviceIndex> members) const = 0;
  /// Time of an all-to-all under `routing` (its group is members.size()); the slowest member decides each leg.
  virtual CommTime exchange(const ExchangeShape& shape, const RoutingMatrix& routing,
                            std::span<const DeviceIndex> members) const = 0;
  /// Multiprocessors that kernels of an exchange among `members` hold, of a router over so many experts. Nothing: as
  /// many as those of other communications.
  virtual std::optional<double> held_by(const ExchangeShape& shape, std::int64_t num_experts,
                                        std::span<const DeviceIndex> members) const;
  /// OpTime::slowdown_by_exchange, beside kernels that hold `held`.
  virtual std::optional<double> slowdown_beside(double held, const OpKey& key, const OpShape& shape,
                                                const ResolvedLoad& load, DeviceIndex device) const;
  /// Time of a copy between `device` and its host. Requires: the rows of the shape are resolved into its bytes.
  virtual CommTime copy(const CopyShape& shape, DeviceIndex device) const = 0;
  virtual CommTime peer(const PeerShape& shape, DeviceIndex from, DeviceIndex to) const = 0;
  virtual OverlapRule overlap(DeviceIndex device) const = 0;
  /// Time of the host to enqueue an op; zero: the host is never late (costmodel/host_time.h).
  virtual Seconds dispatch(const OpKey& key, const OpShape& shape) const;
};

}  // namespace orrery::costmodel
