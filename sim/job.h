// SPDX-License-Identifier: Apache-2.0
// One training job on SimGrid: the queues and dependencies of its ranks decide when an op may begin, a timer says when
// compute ends, and flows that share links, also with those of other jobs, say when communication ends. Nothing here
// knows of other jobs: sim/engine.h runs them together.
#pragma once

#include "costmodel/rate_rule.h"
#include "costmodel/timed_program.h"
#include "program/dependents.h"
#include "sim/flow_plan.h"
#include "sim/repeated_phase.h"
#include "sim/sends.h"
#include "sim/simgrid_kernel.h"
#include "sim/step_dates.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace orrery::sim {

class Job {
 public:
  /// Events of this job have kinds from `first_kind` on, kNumKinds of them. `keep_dates`: else only the makespan is
  /// told. `replay`: phases that repeat are run once, which wants the network for this job alone and always the same.
  /// All have to outlive it.
  Job(const costmodel::TimedProgram& timed, const FlowPlan& plan, SimGridKernel& kernel, std::uint32_t first_kind,
      bool keep_dates, bool replay);

  static constexpr std::uint32_t kNumKinds = 4;

  /// Begins a step now. Requires: none is under way.
  void start();
  /// Goes on after an event of this job.
  void on_event(KernelEvent event);
  bool done() const { return num_left_ == 0; }
  Seconds last_end() const { return last_end_; }
  /// Requires: done().
  StepDates take_dates();
  const Replayed& replayed() const { return replayed_; }
  /// Whether nothing can happen any more unless links come back: no timer runs, and no flow moves.
  bool is_stuck() const { return num_timers_ == 0 && !kernel_.is_moving(first_kind_, first_kind_ + kNumKinds); }

  /// The communications that are under way and do not go on, by lines, for a user whose links are down.
  std::string what_waits() const;

 private:
  enum class Kind : std::uint32_t { compute_ends, latency_ends, closed_form_ends, send_ends };

  /// Something whose end a timer tells, at a rate that overlap may change.
  struct Running {
    costmodel::Progress progress;
    SimGridKernel::Timer timer = nullptr;
  };

  struct Rank {
    const Dependents* dependents = nullptr;
    std::vector<std::uint32_t> num_pending;      // by op: predecessors that have not ended
    std::array<OpIndex, kNumQueues> last_ended;  // by queue
    OpIndex computing = kNoOp;
    std::array<OpIndex, kNumQueues> communicating;  // by queue: the op that waits for its peers or is under way
    costmodel::RunningComms beside;                 // communications that are under way
    Running compute;
    bool disturbed = false;  // what runs on it has changed at this date
  };

  struct Meeting {
    std::uint32_t num_arrived = 0;
    std::uint32_t num_sends = 0;  // under way
    std::uint32_t under_way = 0;  // into under_way_, once all are there
  };

  /// What only a meeting that is under way has: few of millions.
  struct MeetingUnderWay {
    Seconds since;  // when its flows began, or will after the latency
    Running closed_form;
  };

  struct ReadyOp {
    std::uint32_t rank;
    OpIndex op;
  };

  KernelEvent event(Kind kind, std::uint32_t index) const {
    return {first_kind_ + static_cast<std::uint32_t>(kind), index};
  }
  void start_ready_ops();
  void start_compute(std::uint32_t rank, OpIndex op);
  void arrive(std::uint32_t rank, OpIndex op);
  bool is_complete(costmodel::MeetingIndex meeting) const;
  MeetingUnderWay& details(costmodel::MeetingIndex meeting) { return under_way_[meetings_[meeting].under_way]; }
  const MeetingUnderWay& details(costmodel::MeetingIndex meeting) const {
    return under_way_[meetings_[meeting].under_way];
  }
  void start_meeting(costmodel::MeetingIndex meeting);
  void note_start(costmodel::MeetingIndex meeting);
  void start_flows(costmodel::MeetingIndex meeting);
  void end_meeting(costmodel::MeetingIndex meeting);
  /// The op of a rank that waits in or runs as `meeting`.
  OpIndex op_of(std::uint32_t rank, costmodel::MeetingIndex meeting) const;
  void end_op(std::uint32_t rank, OpIndex op);
  void disturb(std::uint32_t rank);
  /// The date of what happens now: the clock does not know of what was replayed.
  Seconds now() const { return kernel_.now() + replayed_.time; }
  PhaseState state() const;
  UnderWay under_way(std::uint32_t rank, OpIndex op) const;
  /// Goes on as if the periods that phase_ has found had passed.
  void replay();
  void replay_ops(std::uint32_t rank);
  /// Gives everything that runs on a disturbed rank the rate that follows from what runs beside it.
  void settle_rates();
  void settle(Running& running, double rate, KernelEvent event);
  double rate_of(costmodel::MeetingIndex meeting) const;

  const costmodel::TimedProgram& timed_;
  const FlowPlan& plan_;
  SimGridKernel& kernel_;
  const std::uint32_t first_kind_;
  const bool keep_dates_;
  SendMaker sends_;
  std::vector<Dependents> dependents_;  // by class
  std::vector<Rank> ranks_;             // as in TimedProgram
  std::vector<Meeting> meetings_;       // as in TimedProgram
  std::vector<MeetingUnderWay> under_way_;
  std::vector<std::uint32_t> free_;  // of under_way_
  std::size_t num_left_ = 0;         // ops that have not ended
  std::size_t num_timers_ = 0;
  Seconds last_end_;  // of the ops that have
  std::vector<ReadyOp> ready_;
  std::vector<std::uint32_t> disturbed_;
  StepDates dates_;
  std::optional<RepeatedPhase> phase_;
  bool period_ends_ = false;
  Replayed replayed_;
  std::map<costmodel::MeetingIndex, costmodel::MeetingIndex> meeting_of_event_;  // what was under way then, and is now
};

}  // namespace orrery::sim
