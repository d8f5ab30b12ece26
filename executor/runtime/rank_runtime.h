// SPDX-License-Identifier: Apache-2.0
// Runs the program of one rank: its ops in the order of the program, on one thread. Compute and collectives run
// inline; a send is posted and moves whenever the rank waits, and its tensor lives until it has left.
#pragma once

#include "executor/runtime/op_call.h"
#include "traces/trace.h"

#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace orrery::executor {

class RankRuntime {
 public:
  /// Requires: cpu_unsupported(program) is empty; all ranks of the program have an endpoint of one segment.
  RankRuntime(const StepProgram& program, RankId rank, Endpoint& endpoint, const TrainingSettings& settings);
  ~RankRuntime();

  /// What one step left behind on this rank.
  struct Step {
    std::vector<Span> spans;
    StepRecord record;              // time: of this rank, from the common start; peak memory: arena and states
    std::vector<LoadRecord> loads;  // this rank's row of each matrix: group == 1
  };
  /// Trains one step. Throws: BackendError when a peer fails.
  Step run_step();

  /// What this rank's memory consisted of when its tensors took most, of all steps so far.
  MemoryRecord memory() const;

  RankState& state() { return state_; }
  Endpoint& endpoint() { return endpoint_; }
  /// Calls `observer` after each op, before its tensors are released.
  void observe(std::function<void(const OpCall&)> observer) { observer_ = std::move(observer); }

 private:
  struct PendingSend;

  void run_op(OpIndex index);
  void start_sends(const OpCall& call, Span span);
  /// Finishes the sends that have left; all of them when `wait`.
  void collect_sends(bool wait);
  void release(std::span<const TensorUse> uses);
  std::vector<LoadRecord> take_loads();

  RankState state_;
  Endpoint& endpoint_;
  std::deque<PendingSend> sends_;
  Instant start_{};
  Step step_;
  std::int64_t fullest_ = 0;       // bytes of the arena
  std::int64_t fullest_step_ = 0;  // in which it had them
  std::function<void(const OpCall&)> observer_;
};

/// What the CPU executor cannot run in a program, in sentences; empty: everything.
std::vector<std::string> cpu_unsupported(const StepProgram& program);

}  // namespace orrery::executor
