// SPDX-License-Identifier: Apache-2.0
// SimGrid as three things: a clock, timers, and flows that share links. Everything else that SimGrid offers (actors,
// mailboxes, executions) is left aside: all that this costs is measured in docs/design/simgrid.md.
// Time inside SimGrid is scaled. SimGrid ends an activity up to 1e-9 of its seconds early, and its clock is a double,
// so a "second" is chosen as a small part of the step: both errors are then about 1e-13 of the step.
#pragma once

#include "base/units.h"
#include "costmodel/cost_model.h"
#include "program/cluster.h"
#include "sim/platform.h"

#include <cstdint>
#include <memory>
#include <span>

namespace simgrid::kernel::timer {
class Timer;
}

namespace orrery::sim {

/// What a timer or a flow tells when it ends; the meaning belongs to who started it.
struct KernelEvent {
  std::uint32_t kind = 0;
  std::uint32_t index = 0;
};

class EventHandler {
 public:
  virtual ~EventHandler() = default;
  virtual void on_event(KernelEvent event) = 0;
};

/// Bytes on their way from one node to another (or to itself) over the ports of one path class.
struct Flow {
  costmodel::PathClass path = costmodel::PathClass::node;
  std::int64_t from = 0, to = 0;  // nodes over the whole cluster
  Bytes size;                     // whole and positive
  BytesPerSecond cap;             // the flow is never faster, whatever its links allow
};

/// SimGrid's engine for one simulation. The engine is a singleton of the process: one SimGridKernel at a time, any
/// number one after the other. Signal handlers and the terminate handler that SimGrid installs are put back.
class SimGridKernel {
 public:
  using Timer = simgrid::kernel::timer::Timer*;

  /// Flows can use `nodes` and the path classes in `used`. `step` is about how long the simulation will last; wrong
  /// by a factor of 100 is fine.
  /// Throws: ConfigError when the cluster does not give a bandwidth that is needed.
  /// Requires: no other SimGridKernel is alive.
  SimGridKernel(const Cluster& cluster, std::span<const NodeUse> nodes, const PathClasses& used, Seconds step);
  ~SimGridKernel();
  SimGridKernel(const SimGridKernel&) = delete;
  SimGridKernel& operator=(const SimGridKernel&) = delete;

  Seconds now() const;

  /// Tells `event` at `date`. The timer is gone once it has fired.
  /// Requires: date >= now().
  Timer set_timer(Seconds date, KernelEvent event);
  void cancel(Timer timer);

  /// Starts a flow now; tells `event` when its last byte has arrived.
  /// Requires: its node was announced with enough flows.
  void start_flow(const Flow& flow, KernelEvent event);

  /// Runs until no timer and no flow is left. Timers and flows may be started before it and by the handler.
  void run(EventHandler& handler);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orrery::sim
