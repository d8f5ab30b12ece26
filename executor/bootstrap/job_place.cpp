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
  std::string_view num_local;  ///< processes on this host
  std::string_view hosts;      ///< the first of them has process 0
  std::string_view job;        ///< what tells two jobs apart
  bool is_outer = false;       ///< counts only where no other is there
};

// Sources: torchrun, "Environment variables" of its manual; Open MPI 4.1, mpirun(1); Slurm 22.05, srun(1), "OUTPUT
// ENVIRONMENT VARIABLES" (a batch script has SLURM_PROCID, too, but only a step has its number); MPICH, hydra.
constexpr Environment kEnvironments[] = {
    {"torchrun", "", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "", "TORCHELASTIC_RUN_ID"},
    {"mpirun", "", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "", "PMIX_NAMESPACE"},
    {"PMI", "", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", "", "PMI_JOBID"},
    {"srun", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_NTASKS", "", "SLURM_NODELIST", "SLURM_JOB_ID", true},
};

// Below the ports that Linux hands out by itself.
constexpr int kFirstPort = 20000, kNumPorts = 10000;

int number_of(const Variables& variables, std::string_view name) {
  const std::string text = variables(name).value_or("");
  const std::optional<int> number = number_in<int>(text);
  if (!number || *number < 0) throw ConfigError(fmt::format("{}: expected a number, got '{}'", name, text));
  return *number;
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

HostPort rendezvous_in(const Environment& environment, const JobPlace& place, const Variables& variables) {
  const std::string job = variables(environment.job).value_or("");
  HostPort found{"", kFirstPort + static_cast<int>(fnv1a(job) % kNumPorts)};
  const auto local = environment.num_local.empty() ? std::nullopt : variables(environment.num_local);
  if (const auto host = variables("MASTER_ADDR")) {
    found.host = *host;
  } else if (const auto hosts = environment.hosts.empty() ? std::nullopt : variables(environment.hosts)) {
    found.host = first_host(*hosts);
  } else if (local && *local == std::to_string(place.num_processes)) {
    found.host = "127.0.0.1";
  } else {
    throw ConfigError(fmt::format("{}: expected an address where process 0 waits for the others", place.source),
                      "--rendezvous HOST:PORT, or MASTER_ADDR and MASTER_PORT");
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
  std::vector<JobPlace> found;  // of the innermost environment, the first
  for (const Environment& environment : kEnvironments) {
    if (environment.is_outer && !found.empty()) continue;
    if (!is_set(environment, variables)) continue;
    JobPlace place = place_in(environment, variables);
    if (found.empty() && place.num_processes > 1) {
      place.rendezvous = rendezvous ? *rendezvous : rendezvous_in(environment, place, variables);
    }
    found.push_back(std::move(place));
    const JobPlace &first = found.front(), &last = found.back();
    if (first.process != last.process || first.num_processes != last.num_processes)
      throw ConfigError(fmt::format("{} says process {} of {}, {} says process {} of {}", first.source, first.process,
                                    first.num_processes, last.source, last.process, last.num_processes),
                        "--nodes, --node-rank and --rendezvous say which");
  }
  if (found.empty() || found.front().num_processes == 1) return std::nullopt;
  return std::move(found.front());
}

std::string first_host(std::string_view list) {
  const std::size_t end = list.find_first_of(",[");
  if (end == std::string_view::npos || list[end] == ',') return std::string(list.substr(0, end));
  const std::string_view numbers = list.substr(end + 1);
  const std::string_view tail = numbers.substr(std::min(numbers.find(']'), numbers.size() - 1) + 1);
  return fmt::format("{}{}{}", list.substr(0, end), numbers.substr(0, numbers.find_first_of(",-]")), first_host(tail));
}

}  // namespace orrery::executor
