// SPDX-License-Identifier: Apache-2.0
// Every communication of a simulated trace beside the least time that its machine could have done it in
// (sim/least_time.h). Who takes part is asked of the mesh and how much of the shapes of the program, so that a mistake
// on the way from there to flows shows up here.
#pragma once

#include "program/cluster.h"
#include "program/fidelity.h"
#include "program/step_program.h"
#include "traces/interpreter.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace orrery::sim {

/// The communications of one name that have spans in a trace. Each counts once, not once for each member.
struct BoundedOps {
  OpCode op = OpCode::embed_lookup;
  std::int64_t count = 0;
  Seconds time, bound;       // sums
  double least_ratio = 0.0;  // of time over bound; 0 where nothing is bounded, as over shared memory

  double mean_ratio() const { return bound > Seconds::zero() ? time / bound : 0.0; }
};

/// Goes through the spans of a trace as they come.
class BoundCheck {
 public:
  /// All have to outlive it.
  BoundCheck(const StepProgram& program, const Cluster& cluster, std::span<const DeviceIndex> device_of_rank,
             const RunInput& input, const Fidelities& fidelities, bool hashed = false);
  ~BoundCheck();

  /// `record`: what the trace says beside its spans. The spans of a rank in a step come in the order of the program.
  /// Throws: as check_bounds().
  void add(const Trace& record, const Spans& spans);
  /// By op, those with the most time first.
  std::vector<BoundedOps> rows() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// By op, those with the most time first. Where a rank stands for others the bound is that of the slowest group of
/// their class.
/// Throws: InternalError that names op and ranks where a communication took less than its bound, by more than the
/// clock's error.
/// Requires: `trace` is of `program`, simulated under `input` at `fidelities`, `hashed`: with a seed for equal paths;
/// its spans are in the order of the program.
std::vector<BoundedOps> check_bounds(const StepProgram& program, const Cluster& cluster,
                                     std::span<const DeviceIndex> device_of_rank, const RunInput& input,
                                     const Fidelities& fidelities, const Trace& trace, bool hashed = false);

}  // namespace orrery::sim
