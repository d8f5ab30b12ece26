// SPDX-License-Identifier: Apache-2.0
// SimGrid as three things: a clock, timers, and flows that share links. Everything else that SimGrid offers (actors,
// mailboxes, executions) is left aside: all that this costs is measured in docs/design/simgrid.md.
// Time inside SimGrid is scaled. SimGrid ends an activity up to 1e-9 of its seconds early, and its clock is a double,
// so a "second" is chosen as a small part of the step: both errors are then about 1e-13 of the step.
#pragma once

#include "base/units.h"
#include "costmodel/cost_model.h"
#include "sim/network.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

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

/// A flow: bytes to a site over the ports of one path class.
struct Part {
  costmodel::PathClass path = costmodel::PathClass::node;
  SiteIndex to = 0;
  Bytes size;           // whole and positive
  double weight = 1.0;  // of the send's
  RouteIndex route = kPooled;
};

/// What one site sends at once: flows that together are never faster than `cap`, whatever their links allow.
struct Send {
  SiteIndex from = 0;
  BytesPerSecond cap;
  double weight = 1.0;      // each of its flows counts for as many where it shares a link with others
  std::size_t at_once = 1;  // parts that are under way; the next one starts when one ends
};

/// A flow that is under way.
struct FlowLeft {
  KernelEvent event;  // of its send
  SiteIndex from = 0, to = 0;
  costmodel::PathClass path = costmodel::PathClass::node;
  RouteIndex route = kPooled;
  std::size_t next = 0;  // part of its send that comes next
  double left = 1.0;     // part of its bytes that have not arrived
};

/// SimGrid's engine for one simulation. The engine is a singleton of the process: one SimGridKernel at a time, any
/// number one after the other. Signal handlers and the terminate handler that SimGrid installs are put back.
class SimGridKernel {
 public:
  using Timer = simgrid::kernel::timer::Timer*;

  /// `step` is about how long the simulation will last; wrong by a factor of 100 is fine.
  /// Requires: no other SimGridKernel is alive; `network` outlives it.
  SimGridKernel(const Network& network, Seconds step);
  ~SimGridKernel();
  SimGridKernel(const SimGridKernel&) = delete;
  SimGridKernel& operator=(const SimGridKernel&) = delete;

  Seconds now() const;

  /// Tells `event` at `date`. The timer is gone once it has fired.
  /// Requires: date >= now().
  Timer set_timer(Seconds date, KernelEvent event);
  void cancel(Timer timer);

  /// Starts to send now; tells `event` when the last byte of the last part has arrived.
  /// Requires: the site has a lane that is free; there are parts, all over the scale-up link or all over the network.
  void start(const Send& send, std::span<const Part> parts, KernelEvent event);

  /// From now on one direction of a port has `bandwidth`. With zero, what is on it or comes to it stands still.
  /// Requires: the port binds.
  void set_bandwidth(PortIndex port, bool inwards, BytesPerSecond bandwidth);

  /// Runs until no timer and no flow is left that can move. Timers and flows may be started before it and by the
  /// handler.
  void run(EventHandler& handler);
  std::vector<FlowLeft> flows() const;
  /// Whether something moves of what tells an event of a kind from `first` to before `last`.
  bool is_moving(std::uint32_t first, std::uint32_t last) const;
  /// From now on nothing is told any more, and run() returns as soon as what is under way has ended.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace orrery::sim
