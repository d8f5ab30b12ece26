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

struct SimGridKernel::Impl {
  struct Comm {
    simgrid::s4u::CommPtr comm;
    KernelEvent event;
    Lane* lane = nullptr;
    std::vector<Lane*>* lane_home = nullptr;
  };

  Impl(const Cluster& cluster, std::span<const NodeUse> nodes, const PathClasses& used, Seconds step)
      : second(second_for(step)),
        engine(make_engine()),
        origin(simgrid::s4u::Engine::get_clock()),
        platform(*engine, cluster, nodes, used, second) {}

  void fire(KernelEvent event) { handler->on_event(event); }

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
  static Impl* live;
  static void connect_signals();
};

SimGridKernel::Impl* SimGridKernel::Impl::live = nullptr;

void SimGridKernel::Impl::connect_signals() {
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
  CHECK(Impl::live == nullptr);
  impl_ = std::make_unique<Impl>(cluster, nodes, used, step);
  Impl::live = impl_.get();
  Impl::connect_signals();
}

SimGridKernel::~SimGridKernel() {
  impl_->release_ended();
  Impl::live = nullptr;
}

Seconds SimGridKernel::now() const { return (simgrid::s4u::Engine::get_clock() - impl_->origin) * impl_->second; }

SimGridKernel::Timer SimGridKernel::set_timer(Seconds date, KernelEvent event) {
  // The sum may be rounded to just before now, where SimGrid refuses to go.
  const double clock = std::max(impl_->origin + date / impl_->second, simgrid::s4u::Engine::get_clock());
  return compat::KernelTimer::set(clock, [impl = impl_.get(), event] { impl->fire(event); });
}

void SimGridKernel::cancel(Timer timer) { timer->remove(); }

void SimGridKernel::start_flow(const Flow& flow, KernelEvent event) {
  const double size = flow.size.in(unit::byte);
  CHECK(size >= 1.0 && size == std::floor(size), size);
  if (impl_->free.empty()) impl_->free.push_back(&impl_->comms.emplace_back());
  Impl::Comm& slot = *impl_->free.back();
  impl_->free.pop_back();
  slot.event = event;
  slot.lane_home = &impl_->platform.free_lanes(flow.path, flow.from);
  CHECK(!slot.lane_home->empty(), flow.path, flow.from);
  slot.lane = slot.lane_home->back();
  slot.lane_home->pop_back();
  slot.lane->set_cap((flow.cap * impl_->second).in(unit::byte));
  slot.comm = simgrid::s4u::Comm::sendto_init();
  slot.comm->set_payload_size(static_cast<std::uint64_t>(size));  // first: a Comm of no bytes would not start
  slot.comm->set_data(&slot);
  slot.comm->set_source(slot.lane->source());
  slot.comm->set_destination(impl_->platform.destination(flow.path, flow.to));  // starts it
}

void SimGridKernel::run(EventHandler& handler) {
  impl_->handler = &handler;
  impl_->engine->run();
  impl_->handler = nullptr;
}

}  // namespace orrery::sim
