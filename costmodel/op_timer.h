// SPDX-License-Identifier: Apache-2.0
// Asks a CostModel for the time of every op of a program, but each different question only once: a step has hundreds
// of thousands of ops and a few hundred different shapes.
#pragma once

#include "costmodel/cost_model.h"
#include "costmodel/simulated_ranks.h"
#include "program/load_model.h"
#include "program/sequence_model.h"
#include "program/step_program.h"
#include "traces/interpreter.h"

#include <array>
#include <bitset>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace orrery::costmodel {

/// The group that an op on a communication queue belongs to. Requires: not a compute shape.
Group group_of(const OpShape& shape);

class OpTimer {
 public:
  OpTimer(const StepProgram& program, const CostModel& model, const SimulatedRanks& simulated, const RunInput& input);

  /// The questions that follow are about ops of `rank` (an index into SimulatedRanks::ranks()).
  void enter(std::size_t rank);

  OpTime compute(const Op& op);
  /// Time of a communication; when the rank stands for others, of the slowest of them.
  CommTime comm(const Op& op);
  /// Payload that the rank sends to others.
  Bytes sent(const Op& op);

  /// Names of ops whose time was extrapolated, sorted.
  std::vector<std::string> extrapolated() const;

 private:
  /// Routing of the EP group to which the rank at position `etp` of this rank's ETP group belongs.
  const RoutingMatrix& routing_of(const Op& op, std::int64_t pairs_per_rank, std::int64_t etp);
  /// Whether the router decides how much an op works on, and so may each time.
  bool is_new_each_time(const OpShape& shape) const;
  ResolvedLoad load_of(const Op& op, const Rows& rows);
  /// Pairs of an attention op of the rank, over those of sequences of one document.
  double share_of(const AttentionShape& shape, const OpKey& key);
  CommTime slowest_of(const Op& op, Group group, std::int64_t lowest);
  CommTime ask(const OpShape& shape, const Op& op, std::span<const DeviceIndex> members);

  const StepProgram& program_;
  const CostModel& model_;
  const SimulatedRanks& simulated_;
  const LoadModel& load_;
  const bool balanced_;
  const bool differs_by_group_;  // else routings depend on the layer alone
  const SequenceModel& sequences_;
  const bool fixed_;                  // every sequence is one document
  const std::optional<double> held_;  // by exchanges: exchange_multiprocessors.h

  const SimulatedRank* rank_ = nullptr;
  std::int64_t ep_group_ = -1;
  /// Compute times by (shape, pass, op code), absent while not asked; one table for each kind of device.
  std::map<std::size_t, std::vector<std::optional<OpTime>>> compute_times_;
  std::vector<std::optional<OpTime>>* table_ = nullptr;
  /// Compute times that a router decides, where all EP groups and micro-batches have the same routing: by kind of
  /// device, position in the EP group, layer, shape, pass and op code.
  std::map<std::array<std::int64_t, 6>, OpTime> routed_times_;
  /// Communication times by shape, lowest rank of the group and, where a router decides, layer.
  std::map<std::tuple<ShapeId, std::int64_t, std::int64_t>, CommTime> comm_times_;
  std::map<std::pair<Group, std::int64_t>, std::vector<std::vector<DeviceIndex>>> devices_;
  /// By shape and, where a router decides, layer; these are of the rank.
  std::map<std::pair<ShapeId, std::int64_t>, Bytes> sent_, routed_sent_;
  /// Routings by layer, micro-batch, position in the ETP group of the rank, and pairs per rank.
  std::map<std::array<std::int64_t, 4>, RoutingMatrix> routings_;
  /// Documents of the micro-batches of one data-parallel rank, and the attention times of the rank by micro-batch,
  /// shape, pass, op code and round of a ring.
  std::int64_t dp_rank_ = -1;
  std::vector<std::vector<Documents>> documents_;
  std::map<std::tuple<std::int32_t, ShapeId, Pass, OpCode, std::int16_t>, OpTime> attention_times_;
  std::bitset<kNumOpCodes> extrapolated_;
};

}  // namespace orrery::costmodel
