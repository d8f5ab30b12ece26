// SPDX-License-Identifier: Apache-2.0
#include "sim/simulate.h"

#include "base/units_format.h"
#include "costmodel/op_times.h"
#include "sim/engine.h"
#include "sim/link_changes.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::sim {
namespace {

std::size_t num(const std::vector<Fidelity>& run, Fidelity fidelity) {
  return static_cast<std::size_t>(std::ranges::count(run, fidelity));
}

/// How much of the communication could compete for links at all.
std::string fidelity_note(const std::vector<Fidelity>& run, const Fidelities& fidelities) {
  std::string note = fmt::format("SimGrid at {}: {} of {} communications as flows", fidelities.text(),
                                 run.size() - num(run, Fidelity::l0), run.size());
  for (const Fidelity fidelity : {Fidelity::l2, Fidelity::l3}) {
    const auto number = num(run, fidelity);
    if (number > 0) note += fmt::format(", {} of them at {}", number, name_of(kFidelityNames, fidelity));
  }
  return note + ", the others in closed form";
}

/// What the links between switches had to do with it.
std::string route_note(const std::vector<Fidelity>& run, const Cluster& cluster, PathSeed seed) {
  const std::size_t in_pairs = num(run, Fidelity::l2) + num(run, Fidelity::l3);
  if (in_pairs == 0) {
    return "groups do not compete on links between routers: only flows in pairs, L2 and L3, have routes over them";
  }
  const std::string ways = seed ? fmt::format("drawn with seed {} among equal ones", *seed) : "balanced";
  return fmt::format("the flows of {} communications take routes over the links {}, {}", in_pairs,
                     topology::has_routers(cluster.fabric) ? "between routers" : "of leaves and spines", ways);
}

std::string replay_note(const costmodel::TimedProgram& timed, const Replayed& replayed) {
  std::size_t num_ops = 0;
  for (const costmodel::TimedRank& rank : timed.ranks) num_ops += rank.meeting.size();
  return fmt::format("a phase that repeats itself was simulated once: {} periods of it, {} of {} ops, are copies",
                     replayed.num_periods, replayed.num_ops, num_ops);
}

/// What became of another job while the step lasted.
std::string note_of(const OtherJob& job, const std::vector<Seconds>& steps, Seconds step) {
  if (steps.empty()) return fmt::format("beside {}: no step of it ended in {}", job.name, step);
  Seconds sum;
  for (const Seconds time : steps) sum += time;
  return fmt::format("beside {}: {} step{} of it ended, {} on average", job.name, steps.size(),
                     steps.size() == 1 ? "" : "s", sum / static_cast<double>(steps.size()));
}

}  // namespace

Simulated simulate_dates(const costmodel::TimedProgram& timed, const Cluster& cluster, const RunInput& input,
                         const Fidelities& fidelities, std::span<const OtherJob> others, PathSeed seed) {
  std::vector<SimulatedJob> jobs = {{&timed, fidelities}};
  for (const OtherJob& other : others) jobs.push_back({other.timed, other.fidelities});
  SharedRun run = run_jobs(jobs, cluster, !input.steps_only, true, seed);
  Trace trace = record_of(timed, run.dates.makespan, input, "simgrid");
  trace.header.notes.push_back(fidelity_note(run.fidelity, fidelities));
  if (have_routes(cluster, seed.has_value())) trace.header.notes.push_back(route_note(run.fidelity, cluster, seed));
  if (run.replayed.num_periods > 0) trace.header.notes.push_back(replay_note(timed, run.replayed));
  for (std::string& note : detours(timed.disturbances, cluster)) trace.header.notes.push_back(std::move(note));
  for (std::size_t i = 0; i < others.size(); ++i) {
    trace.header.notes.push_back(note_of(others[i], run.step_times[i + 1], run.dates.makespan));
  }
  return {.trace = std::move(trace), .dates = std::move(run.dates)};
}

Trace simulate(const costmodel::TimedProgram& timed, const Cluster& cluster, const RunInput& input,
               const Fidelities& fidelities, std::span<const OtherJob> others, PathSeed seed) {
  Simulated simulated = simulate_dates(timed, cluster, input, fidelities, others, seed);
  if (!input.steps_only) append_spans(timed, times_of(timed, simulated.dates), input, simulated.trace.spans);
  return std::move(simulated.trace);
}

}  // namespace orrery::sim
