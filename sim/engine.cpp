// SPDX-License-Identifier: Apache-2.0
#include "sim/engine.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/units_format.h"
#include "sim/flow_plan.h"
#include "sim/job.h"
#include "sim/link_changes.h"
#include "sim/simgrid_kernel.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::sim {
namespace {

using costmodel::kNoMeeting;
using costmodel::MeetingIndex;
using costmodel::OpTimes;
using costmodel::TimedProgram;
using costmodel::TimedRank;

constexpr std::uint32_t kLinkChanges = 0, kFirstJob = 1;  // kinds of events; Job::kNumKinds for each job

/// About how long the step takes: the busiest rank, if it did one thing after the other and nobody disturbed it.
Seconds serial_time(const TimedProgram& timed) {
  Seconds longest;
  for (const TimedRank& rank : timed.ranks) {
    Seconds sum;
    for (const Seconds time : rank.compute_time) sum += time;
    for (const MeetingIndex meeting : rank.meeting) {
      if (meeting != kNoMeeting) sum += timed.time_of(meeting).alone();
    }
    longest = std::max(longest, sum);
  }
  return longest;
}

class Engine : private EventHandler {
 public:
  Engine(const Network& network, std::span<const SimulatedJob> jobs, std::span<const FlowPlan> plans,
         std::vector<LinkChange> changes, bool keep_dates, bool replay)
      : network_(network),
        kernel_(network, serial_time(*jobs.front().timed)),
        began_(jobs.size()),
        changes_(std::move(changes)),
        step_times_(jobs.size()) {
    for (std::uint32_t i = 0; i < jobs.size(); ++i) {
      jobs_.emplace_back(*jobs[i].timed, plans[i], kernel_, kFirstJob + i * Job::kNumKinds, keep_dates && i == 0,
                         replay && jobs.size() == 1 && changes_.empty());
    }
  }

  SharedRun run() {
    for (Job& job : jobs_) job.start();
    for (std::uint32_t i = 0; i < changes_.size(); ++i) {
      change_timers_.push_back(kernel_.set_timer(changes_[i].date, {kLinkChanges, i}));
    }
    kernel_.run(*this);
    if (!jobs_.front().done() && !changes_.empty()) throw BackendError(what_waits());
    return {.dates = jobs_.front().take_dates(),
            .fidelity = {},
            .replayed = jobs_.front().replayed(),
            .step_times = std::move(step_times_)};
  }

 private:
  void on_event(KernelEvent event) override {
    if (event.kind == kLinkChanges) {
      const LinkChange& change = changes_[event.index];
      change_timers_[event.index] = nullptr;
      kernel_.set_bandwidth(change.port, change.inwards, change.bandwidth);
      return;
    }
    const std::uint32_t number = (event.kind - kFirstJob) / Job::kNumKinds;
    Job& job = jobs_[number];
    job.on_event(event);
    if (job.done()) end_step(number);
  }

  void end_step(std::uint32_t number) {
    if (number == 0) return end();
    const Seconds time = kernel_.now() - began_[number];
    step_times_[number].push_back(time);
    // A step without duration would come again and again at one date, and a first job that waits for links that are
    // down for good never ends.
    const bool links_stay = std::ranges::all_of(change_timers_, [](auto* timer) { return timer == nullptr; });
    if (time <= Seconds::zero()) return;
    if (links_stay && jobs_.front().is_stuck()) return end();
    began_[number] = kernel_.now();
    jobs_[number].start();
  }

  /// Links that change later are none of this step's business, nor is what other jobs still do.
  void end() {
    kernel_.stop();
    for (SimGridKernel::Timer& timer : change_timers_) {
      if (timer != nullptr) kernel_.cancel(std::exchange(timer, nullptr));
    }
  }

  std::string what_waits() const {
    constexpr std::size_t kShown = 5;
    std::map<std::string, bool> is_down;  // by direction of a port
    for (const LinkChange& change : changes_) {
      const std::string name = network_.ports()[change.port].name + (change.inwards ? ".in" : ".out");
      is_down[name] = change.bandwidth <= BytesPerSecond::zero();
    }
    std::vector<std::string> down;
    for (const auto& [name, yes] : is_down) {
      if (yes && down.size() < kShown) down.push_back(name);
    }
    return fmt::format("the step does not end: after {} nothing moves, and these links are down: {}{}",
                       jobs_.front().last_end(), fmt::join(down, ", "), jobs_.front().what_waits());
  }

  const Network& network_;
  SimGridKernel kernel_;
  std::deque<Job> jobs_;
  std::vector<Seconds> began_;  // by job: its step that is under way
  std::vector<LinkChange> changes_;
  std::vector<SimGridKernel::Timer> change_timers_;  // null once fired
  std::vector<std::vector<Seconds>> step_times_;     // by job; of the others
};

}  // namespace

SharedRun run_jobs(std::span<const SimulatedJob> jobs, const Cluster& cluster, bool keep_dates, bool replay,
                   PathSeed seed) {
  CHECK(!jobs.empty());
  const bool in_pairs = std::ranges::any_of(jobs, [](const SimulatedJob& job) { return are_in_pairs(job.fidelities); });
  const std::shared_ptr<Routes> routes = routes_of(cluster, seed, in_pairs);
  std::vector<FlowPlan> plans;
  for (const SimulatedJob& job : jobs) plans.push_back(plan_flows(*job.timed, cluster, job.fidelities, routes));
  const Disturbances& disturbances = jobs.front().timed->disturbances;
  const Network network = join_network(cluster, plans, disturbances.on_links());
  SharedRun run = Engine(network, jobs, plans, link_changes(disturbances, cluster, network), keep_dates, replay).run();
  run.fidelity = std::move(plans.front().fidelity);
  return run;
}

OpTimes run_on_simgrid(const TimedProgram& timed, const Cluster& cluster, const Fidelities& fidelities, bool keep_dates,
                       bool replay, PathSeed seed) {
  const SimulatedJob job{.timed = &timed, .fidelities = fidelities};
  return times_of(timed, run_jobs({&job, 1}, cluster, keep_dates, replay, seed).dates);
}

}  // namespace orrery::sim
