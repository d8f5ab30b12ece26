// SPDX-License-Identifier: Apache-2.0
#include "sim/simgrid_kernel.h"

#include "base/check.h"
#include "sim/compat.hpp"
#include "sim/platform.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <deque>
#include <exception>
#include <set>
#include <utility>
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
  /// What is under way of one send.
  struct Sending {
    KernelEvent event;
    SiteIndex from = 0;
    double weight = 1.0;
    Lane* lane = nullptr;
    std::vector<Lane*>* lane_home = nullptr;
    std::vector<Part> parts;
    std::size_t next = 0;       // part that starts when another ends
    std::size_t num_flows = 0;  // under way
  };
  struct Comm {
    simgrid::s4u::CommPtr comm;
    Sending* sending = nullptr;
    Part part;
    bool is_moving = false;
  };

  Impl(const Network& of, Seconds step)
      : network(of),
        second(second_for(step)),
        engine(make_engine()),
        origin(simgrid::s4u::Engine::get_clock()),
        platform(*engine, network, second) {}

  void fire(KernelEvent event) {
    if (!stopped) handler->on_event(event);
  }

  void start_part(Sending& sending, std::size_t index) {
    const Part& part = sending.parts[index];
    const double size = part.size.in(unit::byte);
    CHECK(size >= 1.0 && size == std::floor(size), size);
    Comm& slot = *taken(free_comms, comms);
    slot.sending = &sending;
    slot.part = part;
    slot.is_moving = true;
    slot.comm = simgrid::s4u::Comm::sendto_init();
    slot.comm->set_payload_size(static_cast<std::uint64_t>(size));  // first: a Comm of no bytes would not start
    slot.comm->set_data(&slot);
    slot.comm->set_source(sending.lane->source(part.path));
    slot.comm->set_destination(platform.destination(part.to, part.path, part.route));  // starts it
    const double weight = sending.weight * part.weight;
    if (weight != 1.0) compat::set_weight(*engine, *slot.comm, weight);
    if (num_down > 0) settle(slot);
  }

  /// Whether some port on the way of a flow is down.
  bool is_blocked(const Comm& comm) const {
    const auto down = [&](SiteIndex site, bool inwards) {
      return std::ranges::any_of(network.way(site, comm.part.path),
                                 [&](PortIndex port) { return is_down.contains({port, inwards}); });
    };
    return down(comm.sending->from, false) || down(comm.part.to, true);
  }

  /// Lets a flow move if nothing on its way is down.
  void settle(Comm& comm) {
    const bool moves = !is_blocked(comm);
    if (moves == comm.is_moving) return;
    comm.is_moving = moves;
    if (moves) {
      comm.comm->resume();
    } else {
      comm.comm->suspend();
    }
  }

  void set_down(PortIndex port, bool inwards, bool down) {
    const bool changed = down ? is_down.insert({port, inwards}).second : is_down.erase({port, inwards}) > 0;
    if (!changed) return;
    num_down = is_down.size();
    for (Comm& comm : comms) {
      if (comm.comm != nullptr && std::ranges::find(ended, &comm) == ended.end()) settle(comm);
    }
  }

  void comm_ended(Comm& comm) {
    if (handler == nullptr) return;  // cancelled with all others
    ended.push_back(&comm);
    if (stopped) return;
    Sending& sending = *comm.sending;
    --sending.num_flows;
    if (sending.next < sending.parts.size()) {
      go_on(sending);
    } else if (sending.num_flows == 0) {
      sending.lane_home->push_back(sending.lane);
      const KernelEvent event = sending.event;
      free_sendings.push_back(&sending);
      fire(event);
    }
  }

  /// The next part of `sending` starts when all flows that end at this date have been told: SimGrid 3.32 looks through
  /// all flows there are for each one that ends.
  void go_on(Sending& sending) {
    if (going_on.empty()) {
      compat::KernelTimer::set(simgrid::s4u::Engine::get_clock(), [this] {
        std::swap(going_on, starting);
        for (const auto& [next, part] : starting) {
          if (!stopped) start_part(*next, part);
        }
        starting.clear();
      });
    }
    going_on.emplace_back(&sending, sending.next++);
    ++sending.num_flows;
  }

  /// SimGrid 3.32 still uses a Comm after it has told that it ended; once time has passed it does not.
  void release_ended() {
    for (Comm* comm : ended) {
      comm->comm = nullptr;
      free_comms.push_back(comm);
    }
    ended.clear();
  }

  /// One that is free, or a new one.
  template <class T>
  static T* taken(std::vector<T*>& free, std::deque<T>& all) {
    if (free.empty()) return &all.emplace_back();
    T* last = free.back();
    free.pop_back();
    return last;
  }

  const Network& network;
  Seconds second;
  std::set<std::pair<PortIndex, bool>> is_down;  // port and direction
  std::size_t num_down = 0;
  std::unique_ptr<simgrid::s4u::Engine> engine;
  double origin;  // SimGrid's clock goes on from one engine of the process to the next
  Platform platform;
  EventHandler* handler = nullptr;
  bool stopped = false;
  std::deque<Comm> comms;  // in flight, ended, or free for the next flow
  std::vector<Comm*> ended, free_comms;
  std::deque<Sending> sendings;  // under way, or free for the next
  std::vector<Sending*> free_sendings;
  std::vector<std::pair<Sending*, std::size_t>> going_on, starting;  // parts that start now

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

SimGridKernel::SimGridKernel(const Network& network, Seconds step) {
  CHECK(Impl::live == nullptr);
  impl_ = std::make_unique<Impl>(network, step);
  Impl::live = impl_.get();
  Impl::connect_signals();
}

SimGridKernel::~SimGridKernel() {
  impl_->release_ended();
  impl_->handler = nullptr;
  for (Impl::Comm& comm : impl_->comms) {
    if (comm.comm != nullptr) comm.comm->cancel();  // it stands still on a link that is down
  }
  Impl::live = nullptr;
}

Seconds SimGridKernel::now() const { return (simgrid::s4u::Engine::get_clock() - impl_->origin) * impl_->second; }

SimGridKernel::Timer SimGridKernel::set_timer(Seconds date, KernelEvent event) {
  // The sum may be rounded to just before now, where SimGrid refuses to go.
  const double clock = std::max(impl_->origin + date / impl_->second, simgrid::s4u::Engine::get_clock());
  return compat::KernelTimer::set(clock, [impl = impl_.get(), event] { impl->fire(event); });
}

void SimGridKernel::cancel(Timer timer) { timer->remove(); }

void SimGridKernel::start(const Send& send, std::span<const Part> parts, KernelEvent event) {
  CHECK(!parts.empty() && send.at_once > 0 && send.weight > 0.0, parts.size(), send.at_once, send.weight);
  Impl::Sending& sending = *Impl::taken(impl_->free_sendings, impl_->sendings);
  sending.event = event;
  sending.from = send.from;
  sending.weight = send.weight;
  sending.lane_home = &impl_->platform.free_lanes(send.from, is_network(parts.front().path));
  CHECK(!sending.lane_home->empty(), parts.front().path, send.from);
  sending.lane = sending.lane_home->back();
  sending.lane_home->pop_back();
  sending.lane->set_cap((send.cap * impl_->second).in(unit::byte));
  sending.parts.assign(parts.begin(), parts.end());
  const std::size_t at_once = std::min(parts.size(), send.at_once);
  sending.next = sending.num_flows = at_once;
  for (std::size_t i = 0; i < at_once; ++i) impl_->start_part(sending, i);
}

void SimGridKernel::set_bandwidth(PortIndex port, bool inwards, BytesPerSecond bandwidth) {
  const bool down = bandwidth <= BytesPerSecond::zero();
  impl_->set_down(port, inwards, down);
  if (!down) impl_->platform.link(port, inwards)->set_bandwidth((bandwidth * impl_->second).in(unit::byte));
}

std::vector<FlowLeft> SimGridKernel::flows() const {
  std::vector<FlowLeft> flows;
  const auto add = [&](const Impl::Sending& sending, const Part& part, double left) {
    flows.push_back({.event = sending.event,
                     .from = sending.from,
                     .to = part.to,
                     .path = part.path,
                     .route = part.route,
                     .next = sending.next,
                     .left = left});
  };
  for (const Impl::Comm& comm : impl_->comms) {
    if (comm.comm == nullptr || std::ranges::find(impl_->ended, &comm) != impl_->ended.end()) continue;
    add(*comm.sending, comm.part, comm.comm->get_remaining() / comm.part.size.in(unit::byte));
  }
  for (const auto& [sending, part] : impl_->going_on) add(*sending, sending->parts[part], 1.0);
  return flows;
}

bool SimGridKernel::is_moving(std::uint32_t first, std::uint32_t last) const {
  if (!impl_->going_on.empty()) return true;
  return std::ranges::any_of(impl_->comms, [&](const Impl::Comm& comm) {
    return comm.comm != nullptr && comm.is_moving && first <= comm.sending->event.kind &&
           comm.sending->event.kind < last;
  });
}

void SimGridKernel::stop() { impl_->stopped = true; }

void SimGridKernel::run(EventHandler& handler) {
  impl_->handler = &handler;
  impl_->engine->run();
  impl_->handler = nullptr;
}

}  // namespace orrery::sim
