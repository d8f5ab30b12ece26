// SPDX-License-Identifier: Apache-2.0
// Program in, trace out. Three do it: costmodel estimates in microseconds, sim simulates contention with SimGrid,
// executor runs on real devices. A caller asks first whether an interpreter can, then lets it.
#pragma once

#include "program/disturbances.h"
#include "program/load_model.h"
#include "program/sequence_model.h"
#include "program/step_program.h"
#include "traces/trace.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace orrery {

/// Why an interpreter cannot run a program: a sentence for people.
struct Unsupported {
  std::string reason;
};

struct RunInput {
  LoadModel load = BalancedLoad{};
  SequenceModel sequences = FixedLengths{};  // of step 0, when steps are predicted
  Disturbances disturbances = {};            // of a prediction; an execution has its own
  std::int64_t num_steps = 1;
  /// Write spans of every rank instead of one for each set of equal ranks.
  bool all_ranks = false;
  /// Simulate each data-parallel replica for itself, with one rank for each set of equal ranks within it. A replica
  /// holds all experts once: its ranks have one place among those that hold the same experts.
  bool all_replicas = false;
  /// Only the step records are wanted, no spans (a planner asks this of thousands of candidates).
  bool steps_only = false;
  /// The trace also says which program ran, by a hash of all of it, and what the memory of the ranks consisted of. Who
  /// writes no trace does without, and a prediction then never looks at the program's tensors.
  bool complete = true;
};

class Interpreter {
 public:
  virtual ~Interpreter() = default;
  virtual std::string_view name() const = 0;
  /// Was it compiled in?
  virtual bool available() const = 0;
  /// Can it be used here and now?
  virtual bool enabled() const = 0;
  /// What in this program it cannot run; empty: run() accepts it.
  virtual std::vector<Unsupported> unsupported(const StepProgram& program) const = 0;
  /// Requires: available(), enabled(), and unsupported(program) is empty.
  /// Throws: BackendError when the machinery below fails.
  virtual Trace run(const StepProgram& program, const RunInput& input) const = 0;
};

}  // namespace orrery
