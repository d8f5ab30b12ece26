// SPDX-License-Identifier: Apache-2.0
// How far a run has come, from what its ranks send while it goes on. It outlives a run that fails, so that what was
// trained before is still known. A rank sends the header of its trace when it has its weights, each step as it ends,
// and everything else at the very end (runtime/execution.cpp).
#pragma once

#include "executor/comm/clock.h"
#include "traces/trace.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery::executor {

/// One step as all ranks together saw it: the longest time and the largest memory. `of_rank` is not empty, and its
/// lists may differ in length where ranks were stopped; the result has the steps that all of them have.
std::vector<StepRecord> merge_steps(const std::vector<std::vector<StepRecord>>& of_rank);

class RunLog {
 public:
  /// The ranks are started now; forgets an earlier run.
  void start(int num_ranks);
  /// Called when all ranks have ended their first step; of every run.
  void on_first_step(std::function<void()> call) { on_first_step_ = std::move(call); }
  /// A part of what a rank has sent.
  void take(int rank, std::string_view bytes);

  /// When the ranks were started; when all of them had their weights, and when all had ended their first step.
  Instant started() const { return started_; }
  std::optional<Instant> loaded() const { return loaded_; }
  std::optional<Instant> first_step() const { return first_step_; }

  /// The steps that all ranks have ended. Throws: ConfigError, when a rank has sent something else than a trace.
  std::vector<StepRecord> steps() const;

 private:
  struct Sent {
    std::string line;  // that has not ended yet
    std::string head;  // header and steps, line by line
    int num_lines = 0;
  };
  void end_line(Sent& sent);
  bool all_have_sent(int num_lines) const;

  std::function<void()> on_first_step_ = [] {};
  Instant started_{};
  std::optional<Instant> loaded_, first_step_;
  std::vector<Sent> of_rank_;
};

}  // namespace orrery::executor
