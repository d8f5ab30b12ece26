// SPDX-License-Identifier: Apache-2.0
// SimGrid behind the interface that planner and command line know. SimGrid's engine is a singleton that takes over
// signal handlers, so each run is a process of its own: the same binary, started by exec, which lowers the plan again.
#pragma once

#include "program/plan.h"
#include "sim/child_process.h"
#include "sim/link_use.h"
#include "sim/worker_request.h"
#include "traces/interpreter.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace orrery::sim {

/// Sees spans of a rank in a step, with all that the trace says beside its spans.
using SpanUse = std::function<void(const Trace& record, const Spans& spans)>;

/// A simulation that goes on in its worker while this process does something else.
class Simulation {
 public:
  /// How full links were, if that was asked; a trace without spans.
  struct Result {
    Trace trace;
    std::optional<UseOfLinks> use;
  };
  /// Waits for the end. `use` sees all spans as they come, and may throw.
  /// Requires: `program` is that of the plan; not called before.
  /// Throws: as WorkerInterpreter::run().
  Result finish(const StepProgram& program, const SpanUse& use);

 private:
  friend class WorkerInterpreter;
  Simulation(std::unique_ptr<Child> worker, Plan plan, bool says_program)
      : worker_(std::move(worker)), plan_(std::move(plan)), says_program_(says_program) {}
  Result read(const StepProgram& program, const SpanUse& use);

  std::unique_ptr<Child> worker_;
  Plan plan_;
  bool says_program_;
};

class WorkerInterpreter : public Interpreter {
 public:
  /// `plan`: model, cluster, calibration, placement and fidelity; strategy and batch are taken from each
  /// program, so one object serves a whole search. `executable` runs worker_main when called with `simulate-worker`.
  explicit WorkerInterpreter(Plan plan, std::filesystem::path calibration, std::string executable = "/proc/self/exe");

  /// Other jobs on the plan's cluster, which repeat their steps beside it.
  /// Requires: no device of theirs is the plan's or of another; run() is asked for all ranks from then on.
  void run_beside(std::vector<OtherPlan> others) { others_ = std::move(others); }

  /// Flows in pairs take one of several equal paths, drawn with a seed. Requires: as for run_beside().
  void draw_paths(PathSeed seed) { seed_ = seed; }

  std::string_view name() const override { return "simgrid"; }
  bool available() const override { return true; }
  bool enabled() const override { return true; }
  /// A program that the plan's model cannot have is refused: the worker could not build it. Whether one that it can
  /// have was built by hand comes out when the worker has lowered the plan: to lower it here, too, would take a tenth
  /// of all.
  std::vector<Unsupported> unsupported(const StepProgram& program) const override;
  /// Throws: ConfigError, BackendError, InternalError as the worker reports them; BackendError if it was killed, or the
  /// program was built by hand.
  Trace run(const StepProgram& program, const RunInput& input) const override;

  /// Starts to simulate the program of the plan, before this process has lowered it itself.
  Simulation start(const RunInput& input, bool use_of_links) const { return start(plan_, input, use_of_links); }

 private:
  /// The plan of `program`, as far as the worker needs it.
  Plan plan_of(const StepProgram& program) const;
  Simulation start(Plan plan, const RunInput& input, bool use_of_links) const;

  Plan plan_;
  std::filesystem::path calibration_;
  std::string executable_;
  std::vector<OtherPlan> others_;
  PathSeed seed_;
};

}  // namespace orrery::sim
