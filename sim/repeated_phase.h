// SPDX-License-Identifier: Apache-2.0
// A memo of repeated phases. With many micro-batches a pipeline settles: what is under way comes again, op for op a
// micro-batch further on. What the engine will do depends on nothing but the state of the job (what has ended, what is
// under way and how much is left of it) and on the program from there on. So when a state is that of one period before,
// and the program repeats itself for k periods more, those periods are known: the last one, k times.
//
// Ranks have orders of their own, so "a period further on" is a number of ops for each rank, the distance to the same
// op of a later micro-batch. The ops of a queue end in their order, so one op for each queue says what has ended.
#pragma once

#include "costmodel/timed_program.h"
#include "sim/flow_plan.h"
#include "sim/simgrid_kernel.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace orrery::sim {

inline constexpr OpIndex kNoOp = ~OpIndex{0};

/// Something that is under way or waits for its peers.
struct UnderWay {
  OpIndex op = kNoOp;
  std::uint32_t num_arrived = 0, num_sends = 0;  // of its meeting
  double rate = 1.0;
  Seconds left;                      // until its timer tells its end; of flows: until they begin, or began
  Seconds since_ready, since_start;  // where dates are kept: those of the next periods are copied from the last one
};

/// A job between two events.
struct PhaseState {
  struct Rank {
    std::array<OpIndex, kNumQueues> last_ended;  // by queue, or kNoOp
    UnderWay computing;
    std::array<UnderWay, kNumQueues> communicating;
  };
  Seconds now;
  std::vector<Rank> ranks;
  std::vector<FlowLeft> flows;  // by the first participant's op of their meeting, in `event`: rank in kind, op in index
};

/// What of a step was replayed.
struct Replayed {
  std::size_t num_ops = 0, num_periods = 0;
  Seconds time;
};

class RepeatedPhase {
 public:
  /// Both have to outlive it.
  RepeatedPhase(const costmodel::TimedProgram& timed, const FlowPlan& plan);

  /// Whether a period may have ended with this op: then found() is to be asked.
  bool ends_with(std::uint32_t rank, OpIndex op) const { return rank == 0 && !is_over_ && op % shift_[0] == anchor_; }

  /// Whether `state` is that of the last period's end, and the program repeats itself: then num_periods() more periods
  /// are as the last one. It finds one phase in a step.
  bool found(PhaseState state);

  std::size_t num_periods() const { return num_periods_; }
  Seconds period() const { return now_.now - before_.now; }
  /// How many ops of a rank are a period.
  OpIndex shift(std::uint32_t rank) const { return shift_[rank]; }
  /// Ops of a rank that ended in the last period.
  std::span<const OpIndex> ended(std::uint32_t rank) const { return ended_[rank]; }

 private:
  bool find_shifts(std::int32_t num_micro_batches);
  bool is_same_state() const;
  bool is_same(std::uint32_t rank, const UnderWay& before, const UnderWay& now) const;
  void find_ended();
  /// Whether the ops of the last period, `times` and `times` + 1 periods further on, are alike.
  bool repeats(OpIndex times);
  bool is_alike(std::uint32_t rank, OpIndex op);
  /// Whether nothing else would have begun by then.
  bool is_complete(OpIndex times) const;
  bool has_ended(std::uint32_t rank, OpIndex op, OpIndex times) const;

  const costmodel::TimedProgram& timed_;
  const FlowPlan& plan_;
  bool is_over_ = true;         // nothing repeats, or it was found
  std::vector<OpIndex> shift_;  // by simulated rank
  OpIndex anchor_ = 0;
  PhaseState before_, now_;
  std::vector<std::vector<OpIndex>> ended_;       // by rank
  std::vector<costmodel::MeetingIndex> further_;  // by meeting: the same one a period further on, as far as known
  std::size_t num_periods_ = 0;
};

}  // namespace orrery::sim
