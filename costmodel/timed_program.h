// SPDX-License-Identifier: Apache-2.0
// A program with everything resolved that an interpreter needs to run it: which ranks are simulated, how long each
// compute op takes, which ops of different ranks meet in one communication, and what that communication costs.
// The analytic and the SimGrid interpreter start from the same TimedProgram and differ only in how time passes.
//
// Symmetry: with a balanced load and sequences of one document all ranks of a class do the same at the same time, so
// one rank per class is simulated and stands for all of them (`represents`); with a straggler or a disturbed link, one
// for each set of ranks that still are equal. Otherwise every rank is simulated.
#pragma once

#include "costmodel/cost_model.h"
#include "costmodel/shared_column.h"
#include "program/step_program.h"
#include "traces/interpreter.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace orrery::costmodel {

/// Index of a communication: a collective or a send with its receive, with all its participants.
using MeetingIndex = std::uint32_t;
inline constexpr MeetingIndex kNoMeeting = ~MeetingIndex{0};

struct TimedRank {
  RankView view;
  DeviceIndex device;
  std::int64_t represents = 1;  // ranks of the program that do the same as this one
  /// Of those, the ranks on the same node as this one: their traffic shares its network ports.
  std::int64_t represents_on_node = 1;
  /// Nodes below the leaf of this one that hold such ranks: their traffic shares its uplinks.
  std::int64_t nodes_on_leaf = 1;
  /// Per op of the class: time of a compute op, zero for communication.
  SharedColumn<Seconds> compute_time;
  /// Per op of the class: its own slowdown beside a communication; empty: that of `overlap`, for all.
  SharedColumn<float> slowdown;
  /// The same beside an exchange of tokens; empty: as beside others.
  SharedColumn<float> slowdown_by_exchange;
  /// Per op of the class: its communication, or kNoMeeting for compute.
  std::vector<MeetingIndex> meeting;
  /// Per op of the class: payload bytes that this rank sends to others.
  SharedColumn<Bytes> sent;
  OverlapRule overlap;

  double slowdown_of(OpIndex op) const {
    return slowdown.empty() ? overlap.compute_slowdown : static_cast<double>(slowdown[op]);
  }
  double slowdown_by_exchange_of(OpIndex op) const {
    return slowdown_by_exchange.empty() ? slowdown_of(op) : static_cast<double>(slowdown_by_exchange[op]);
  }
};

struct Meeting {
  std::uint32_t time = 0;  // into TimedProgram::comm_times
  /// Simulated ranks (indices into TimedProgram::ranks) that take part; it starts when all have arrived. For a
  /// message: sender, then receiver.
  std::uint32_t first_participant = 0, num_participants = 0;  // into TimedProgram::participants
  bool message = false;                                       // one directed message instead of a collective
  bool exchange = false;                                      // of tokens, which may hold more multiprocessors
};

/// One op of a simulated rank.
struct RankOp {
  std::uint32_t rank = 0;  // index into TimedProgram::ranks
  OpIndex op = 0;
};

struct TimedProgram {
  const StepProgram* program = nullptr;
  std::vector<TimedRank> ranks;
  std::vector<Meeting> meetings;
  std::vector<std::uint32_t> participants;
  /// What communications cost, each answer once: a step has millions of communications and a few hundred of these.
  std::vector<CommTime> comm_times;
  /// By rank of the program: where it is, and which of `ranks` it is or is stood for by.
  std::vector<DeviceIndex> device_of_rank;
  std::vector<std::uint32_t> simulated_of_rank;
  LoadModel load = BalancedLoad{};  // under which it was timed
  Disturbances disturbances;        // those on compute are in the times; those on links are SimGrid's
  /// Names of ops whose time is extrapolated, sorted, without repetition.
  std::vector<std::string> extrapolated;

  const CommTime& time_of(MeetingIndex m) const { return comm_times[meetings[m].time]; }
  std::span<const std::uint32_t> participants_of(MeetingIndex m) const {
    return std::span(participants).subspan(meetings[m].first_participant, meetings[m].num_participants);
  }
  const RankClass& class_of(const TimedRank& rank) const {
    return program->classes[static_cast<std::size_t>(rank.view.program_class.value())];
  }
  const Op& op(RankOp at) const { return class_of(ranks[at.rank]).ops[at.op]; }
};

/// Resolves `program` on `device_of_rank` (empty: in the order of the strategy) under `input.load` and
/// `input.sequences`. Complexity: linear in the ops of the simulated ranks; compute times are memoised by op and shape.
/// Requires: verify(program) is empty.
TimedProgram time_program(const StepProgram& program, const CostModel& model, const Cluster& cluster,
                          std::span<const DeviceIndex> device_of_rank, const RunInput& input);

}  // namespace orrery::costmodel
