// SPDX-License-Identifier: Apache-2.0
#include "sim/simgrid_kernel.h"

#include "base/check.h"
#include "sim/compat.hpp"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <deque>
#include <exception>
#include <vector>

namespace orrery::sim {
namespace {

/// Keeps the handlers of a process and gives them back: SimGrid's engine takes them for its own reports.
class HandlerGuard {
 public:
  HandlerGuard() : terminate_(std::get_terminate()) {
    sigaction(SIGINT, nullptr, &interrupt_);
    sigaction(SIGSEGV, nullptr, &segmentation_);
  }
  ~HandlerGuard() {
    sigaction(SIGINT, &interrupt_, nullptr);
    sigaction(SIGSEGV, &segmentation_, nullptr);
    std::set_terminate(terminate_);
  }
  HandlerGuard(const HandlerGuard&) = delete;
  HandlerGuard& operator=(const HandlerGuard&) = delete;

 private:
  struct sigaction interrupt_ = {}, segmentation_ = {};
  std::terminate_handler terminate_;
};

std::unique_ptr<simgrid::s4u::Engine> make_engine() {
  // Its own arguments: SimGrid eats those it knows and logs every change of its configuration.
  static char name[] = "orrery", quiet[] = "--log=root.thresh:warning";
  char* arguments[] = {name, quiet, nullptr};
  int count = 2;
  const HandlerGuard guard;
  auto engine = std::make_unique<simgrid::s4u::Engine>(&count, arguments);
  // The configuration outlives the engine, and the model may be set once only.
  static const bool configured = [] {
    // docs/design/simgrid.md says what each setting does to speed and result.
    for (const char* setting :
         {"network/model:CM02", "network/crosstraffic:0", "network/TCP-gamma:1e30", "surf/precision:1e-9"}) {
      simgrid::s4u::Engine::set_config(setting);
    }
    return true;
  }();
  CHECK(configured);
  return engine;
}

/// SimGrid's second: a ten-thousandth of the step, as a power of two so that scaling is exact.
Seconds second_for(Seconds step) {
  if (step <= Seconds::zero()) return unit::second;
  return std::exp2(std::floor(std::log2(step.in(unit::second) * 1e-4))) * unit::second;
}

}  // namespace

struct SimGridKernel::State {
  struct Comm {
    simgrid::s4u::CommPtr comm;
    Event event;
    Lane* lane = nullptr;
    std::vector<Lane*>* lane_home = nullptr;
  };

  State(const Cluster& cluster, std::span<const NodeUse> nodes, const PathClasses& used, Seconds step)
      : second(second_for(step)),
        engine(make_engine()),
        origin(simgrid::s4u::Engine::get_clock()),
        platform(*engine, cluster, nodes, used, second) {}

  void fire(Event event) { handler->on_event(event); }

  void comm_ended(Comm& comm) {
    ended.push_back(&comm);
    comm.lane_home->push_back(comm.lane);
    fire(comm.event);
  }

  /// SimGrid 3.32 still uses a Comm after it has told that it ended; once time has passed it does not.
  void release_ended() {
    for (Comm* comm : ended) {
      comm->comm = nullptr;
      free.push_back(comm);
    }
    ended.clear();
  }

  Seconds second;
  std::unique_ptr<simgrid::s4u::Engine> engine;
  double origin;  // SimGrid's clock goes on from one engine of the process to the next
  Platform platform;
  EventHandler* handler = nullptr;
  std::deque<Comm> comms;  // in flight, ended, or free for the next flow
  std::vector<Comm*> ended, free;

  /// The one that the static signals of SimGrid mean.
  static State* live;
  static void connect_signals();
};

SimGridKernel::State* SimGridKernel::State::live = nullptr;

void SimGridKernel::State::connect_signals() {
  // SimGrid's signals belong to the process and outlive its engine.
  static const bool connected = [] {
    compat::on_comm_completion([](void* comm) { live->comm_ended(*static_cast<Comm*>(comm)); });
    simgrid::s4u::Engine::on_time_advance_cb([](double) { live->release_ended(); });
    return true;
  }();
  CHECK(connected);
}

SimGridKernel::SimGridKernel(const Cluster& cluster, std::span<const NodeUse> nodes, const PathClasses& used,
                             Seconds step) {
  CHECK(State::live == nullptr);
  state_ = std::make_unique<State>(cluster, nodes, used, step);
  State::live = state_.get();
  State::connect_signals();
}

SimGridKernel::~SimGridKernel() {
  state_->release_ended();
  State::live = nullptr;
}

Seconds SimGridKernel::now() const { return (simgrid::s4u::Engine::get_clock() - state_->origin) * state_->second; }

SimGridKernel::Timer SimGridKernel::set_timer(Seconds date, Event event) {
  // The sum may be rounded to just before now, where SimGrid refuses to go.
  const double clock = std::max(state_->origin + date / state_->second, simgrid::s4u::Engine::get_clock());
  return compat::KernelTimer::set(clock, [state = state_.get(), event] { state->fire(event); });
}

void SimGridKernel::cancel(Timer timer) { timer->remove(); }

void SimGridKernel::start_flow(const Flow& flow, Event event) {
  const double size = flow.size.in(unit::byte);
  CHECK(size >= 1.0 && size == std::floor(size), size);
  if (state_->free.empty()) state_->free.push_back(&state_->comms.emplace_back());
  State::Comm& slot = *state_->free.back();
  state_->free.pop_back();
  slot.event = event;
  slot.lane_home = &state_->platform.free_lanes(flow.path, flow.from);
  CHECK(!slot.lane_home->empty(), flow.path, flow.from);
  slot.lane = slot.lane_home->back();
  slot.lane_home->pop_back();
  slot.lane->set_cap((flow.cap * state_->second).in(unit::byte));
  slot.comm = simgrid::s4u::Comm::sendto_init();
  slot.comm->set_payload_size(static_cast<std::uint64_t>(size));  // first: a Comm of no bytes would not start
  slot.comm->set_data(&slot);
  slot.comm->set_source(slot.lane->source());
  slot.comm->set_destination(state_->platform.destination(flow.path, flow.to));  // starts it
}

void SimGridKernel::run(EventHandler& handler) {
  state_->handler = &handler;
  state_->engine->run();
  state_->handler = nullptr;
}

}  // namespace orrery::sim
