// SPDX-License-Identifier: Apache-2.0
#include "executor/bootstrap/job_place.h"

#include "base/errors.h"
#include "base/fnv.h"
#include "base/number_text.h"

#include <cstdlib>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

/// The names of one environment; empty where it has none.
struct Environment {
  std::string_view source;
  std::string_view needs;  ///< is set only where the others mean what they say
  std::string_view process, num_processes;
  std::string_view num_local;           ///< processes on this host
  std::vector<std::string_view> hosts;  ///< lists of them, the first that is set counts: its first host has process 0
  std::string_view job;                 ///< what tells two jobs apart
  bool is_outer = false;                ///< counts only where no other is there
};

// Sources: torchrun, "Environment variables" of its manual; Open MPI 4.1, mpirun(1); Slurm 22.05, srun(1), "OUTPUT
// ENVIRONMENT VARIABLES" (a batch script has SLURM_PROCID, too, but only a step has its number; SLURM_NODELIST is of
// the whole allocation, and a step may have a part of it); MPICH, hydra.
const Environment kEnvironments[] = {
    {"torchrun", "", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", {}, "TORCHELASTIC_RUN_ID"},
    {"mpirun", "", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", {}, "PMIX_NAMESPACE"},
    {"PMI", "", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", {}, "PMI_JOBID"},
    {"srun",
     "SLURM_STEP_ID",
     "SLURM_PROCID",
     "SLURM_NTASKS",
     "",
     {"SLURM_STEP_NODELIST", "SLURM_NODELIST"},
     "SLURM_JOB_ID",
     true},
};

// Below the ports that Linux hands out by itself.
constexpr int kFirstPort = 20000, kNumPorts = 10000;

int number_of(const Variables& variables, std::string_view name) {
  const std::string text = variables(name).value_or("");
  const std::optional<int> number = number_in<int>(text);
  if (!number || *number < 0) throw ConfigError(fmt::format("{}: expected a number, got '{}'", name, text));
  return *number;
}

std::optional<std::string> first_set(const std::vector<std::string_view>& names, const Variables& variables) {
  for (const std::string_view name : names) {
    if (auto text = variables(name)) return text;
  }
  return std::nullopt;
}

/// Whether the process was started in such an environment.
bool is_set(const Environment& environment, const Variables& variables) {
  if (!environment.needs.empty() && !variables(environment.needs)) return false;
  return variables(environment.process) || variables(environment.num_processes);
}

/// What it says of processes. Requires: is_set.
JobPlace place_in(const Environment& environment, const Variables& variables) {
  const bool has_process = variables(environment.process).has_value();
  const bool has_number = variables(environment.num_processes).has_value();
  if (!has_process || !has_number)
    throw ConfigError(
        fmt::format("{} is set, but {} is not", has_process ? environment.process : environment.num_processes,
                    has_process ? environment.num_processes : environment.process),
        "--nodes 1 runs on this host alone");
  JobPlace place{.process = number_of(variables, environment.process),
                 .num_processes = number_of(variables, environment.num_processes),
                 .source = std::string(environment.source)};
  if (place.process >= place.num_processes)
    throw ConfigError(fmt::format("{}: expected less than the {} processes of {}, got {}", environment.process,
                                  place.num_processes, environment.num_processes, place.process),
                      fmt::format("{} counts processes, not hosts", environment.num_processes));
  return place;
}

/// Where process 0 waits, if this environment tells.
std::optional<HostPort> rendezvous_in(const Environment& environment, const JobPlace& place,
                                      const Variables& variables) {
  const std::string job = variables(environment.job).value_or("");
  HostPort found{"", kFirstPort + static_cast<int>(fnv1a(job) % kNumPorts)};
  const auto local = environment.num_local.empty() ? std::nullopt : variables(environment.num_local);
  if (const auto host = variables("MASTER_ADDR")) {
    found.host = *host;
  } else if (const auto hosts = first_set(environment.hosts, variables)) {
    found.host = first_host(*hosts);
  } else if (local && *local == std::to_string(place.num_processes)) {
    found.host = "127.0.0.1";
  } else {
    return std::nullopt;
  }
  if (variables("MASTER_PORT")) {
    found.port = number_of(variables, "MASTER_PORT");
    // torchrun keeps a store of its own at that port.
    if (variables("TORCHELASTIC_USE_AGENT_STORE") == "True") ++found.port;
  }
  return found;
}

}  // namespace

std::optional<std::string> variable_of_this_process(std::string_view name) {
  const char* text = std::getenv(std::string(name).c_str());
  if (text == nullptr || *text == '\0') return std::nullopt;
  return text;
}

std::optional<JobPlace> job_place_of(const Variables& variables, const std::optional<HostPort>& rendezvous) {
  std::optional<JobPlace> found;  // of the innermost environment
  std::optional<HostPort> meeting = rendezvous;
  for (const Environment& environment : kEnvironments) {
    if (!is_set(environment, variables)) continue;
    if (environment.is_outer && found && meeting) continue;
    const JobPlace place = place_in(environment, variables);
    const bool agrees = !found || (found->process == place.process && found->num_processes == place.num_processes);
    if (!agrees && environment.is_outer) continue;
    if (!agrees)
      throw ConfigError(fmt::format("{} says process {} of {}, {} says process {} of {}", found->source, found->process,
                                    found->num_processes, place.source, place.process, place.num_processes),
                        "--nodes, --node-rank and --rendezvous say which");
    if (!found) found = place;
    // srun has PMI tell a process its number, too, but not where the others are.
    if (!meeting && place.num_processes > 1) meeting = rendezvous_in(environment, place, variables);
  }
  if (!found || found->num_processes == 1) return std::nullopt;
  if (!meeting)
    throw ConfigError(fmt::format("{}: expected an address where process 0 waits for the others", found->source),
                      "--rendezvous HOST:PORT, or MASTER_ADDR and MASTER_PORT");
  found->rendezvous = *meeting;
  return found;
}

std::string first_host(std::string_view list) {
  const std::size_t end = list.find_first_of(",[");
  if (end == std::string_view::npos || list[end] == ',') return std::string(list.substr(0, end));
  const std::string_view numbers = list.substr(end + 1);
  const std::string_view tail = numbers.substr(std::min(numbers.find(']'), numbers.size() - 1) + 1);
  return fmt::format("{}{}{}", list.substr(0, end), numbers.substr(0, numbers.find_first_of(",-]")), first_host(tail));
}

}  // namespace orrery::executor
