// SPDX-License-Identifier: Apache-2.0
// A training run that goes on when ranks are lost: what is done after a failure, and the loop that does it. What it
// needs of processes, planner and files is an interface, so that a test of the decisions kills nothing.
// Design: docs/design/elastic.md.
#pragma once

#include "base/units.h"
#include "executor/runtime/execution.h"
#include "planner/search.h"
#include "program/mesh.h"
#include "program/plan.h"
#include "traces/trace.h"

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace orrery::cli {

/// How a try to train ended early.
struct Failure {
  std::string text;          // who, where, how
  std::vector<RankId> lost;  // of the plan that ran; empty: the rank that failed said why itself
  Seconds detect;            // from the last op that the lost rank began until the launcher knew
  Seconds stop;              // from then until no rank was left
};

/// One try to train to the end.
struct Attempt {
  std::vector<StepRecord> steps;            // that all ranks have ended
  std::optional<Seconds> load, first_step;  // from the start of the ranks; from there to the end of the first step
  std::variant<Trace, Failure> outcome;
};

/// What was done after a failure, and how long it took.
struct Restart {
  std::int64_t failed_step = 0;                // in which it failed: so many were complete
  std::vector<DeviceIndex> lost;               // devices; empty: the same plan once more
  std::int64_t num_left = 0, num_devices = 0;  // devices that were left, and those of them that the plan uses
  std::optional<executor::StartPoint> start;   // none: from the first step
  Seconds detect, stop, replan;                // see Failure; the planner's
  std::optional<Seconds> load, first_step;     // see Attempt; nothing if it did not get there
};

/// Why nothing was tried any more.
struct GaveUp {
  std::string why;
  std::optional<planner::Infeasible> infeasible;  // for the devices that are left there is no plan
};

class ElasticWorld {
 public:
  virtual ~ElasticWorld() = default;
  /// Trains from `start`, or from the first step; `restarts`: how many there were before.
  virtual Attempt train(const Plan& plan, const std::optional<executor::StartPoint>& start, std::int64_t restarts) = 0;
  /// The last complete checkpoint.
  virtual std::optional<executor::StartPoint> last_checkpoint(const Plan& plan) = 0;
  /// A plan for what is left of the devices of `from`.
  virtual std::variant<Plan, planner::Infeasible> replan(const Plan& from, const std::vector<RankId>& lost,
                                                         std::int64_t steps_left) = 0;
  /// Called before a restart: `plan` goes on now.
  virtual void on_restart(const Restart& restart, const Plan& plan) = 0;
  /// Something that the user wants to know at once.
  virtual void tell(const std::string& sentence) = 0;
};

struct ElasticLimits {
  std::int64_t num_steps = 1;
  std::int64_t max_restarts = 3;
};

struct ElasticResult {
  Plan plan;                      // the last one
  std::vector<StepRecord> steps;  // each once, as the tries that led to the end trained it
  std::vector<Restart> restarts;
  std::variant<Trace, GaveUp> outcome;  // the trace of the last try
};

/// Trains to the end or until there is no sense in going on: a lost rank is a reason for a new plan, as long as one is
/// left; an error that a rank itself reports is no reason for another plan, and is tried once more, since a disk may be
/// full only for a moment; in the same step again it is final.
ElasticResult train_elastically(Plan plan, std::optional<executor::StartPoint> start, const ElasticLimits& limits,
                                ElasticWorld& world);

}  // namespace orrery::cli
