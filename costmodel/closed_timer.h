// SPDX-License-Identifier: Apache-2.0
// Asks a CostModel about ops that are in no program, under a balanced router: for costmodel/closed_form.cpp.
#pragma once

#include "costmodel/cost_model.h"
#include "costmodel/layer_ops.h"
#include "program/mesh.h"
#include "program/rank_devices.h"

#include <map>
#include <optional>
#include <span>
#include <vector>

namespace orrery::costmodel {

class ClosedTimer {
 public:
  ClosedTimer(const Model& model, const Strategy& strategy, const Mesh& mesh, const CostModel& cost,
              std::span<const DeviceIndex> device_of_rank);

  /// The questions that follow are about the first rank of this pipeline rank.
  void enter(std::int64_t pipeline_rank);
  std::int64_t pipeline_rank() const { return rank_.value() / mesh_.ranks_per_stage(); }

  /// Of any op of a layer; what travels within a group of one takes no time.
  Seconds time(const LayerOp& op) { return timed(op).time; }
  /// The same, with the op's own slowdowns.
  OpTime timed(const LayerOp& op);
  /// Multiprocessors that exchanges of tokens hold, on which slowdowns depend (exchange_multiprocessors.h).
  std::optional<double> held() const { return held_; }
  Seconds collective(Group group, CollectiveKind kind, std::int64_t num_bytes);
  /// The all-reduce of the gradient norm, over all ranks.
  Seconds norm();
  Seconds memory_bound(OpCode op, Pass pass, std::int64_t rows, std::int64_t read, std::int64_t written);
  Seconds copy(std::int64_t num_bytes, bool to_host);
  /// A message to the next pipeline rank, or to the previous one.
  Seconds message(std::int64_t num_bytes, bool to_next);

  /// Of the host, to enqueue the op.
  Seconds host(const LayerOp& op) const;

  OverlapRule overlap() const { return cost_.overlap(device()); }
  bool extrapolated() const { return extrapolated_; }

 private:
  OpTime compute(OpCode op, Pass pass, const OpShape& shape);
  Seconds collective(CollectiveShape shape);
  Seconds exchange(const ExchangeShape& shape);
  const std::vector<DeviceIndex>& members(Group group);
  DeviceIndex device_of(RankId rank) const { return devices_.of(rank); }
  DeviceIndex device() const { return device_of(rank_); }
  template <class Time>
  Time noted(const Time& time) {
    extrapolated_ = extrapolated_ || time.extrapolated;
    return time;
  }

  const Model& model_;
  const Strategy& strategy_;
  const Mesh& mesh_;
  const CostModel& cost_;
  const RankDevices devices_;
  const std::optional<double> held_;
  RankId rank_;
  std::map<Group, std::vector<DeviceIndex>> members_;  // of the rank at hand
  std::optional<RoutingMatrix> routing_;
  bool extrapolated_ = false;
};

}  // namespace orrery::costmodel
