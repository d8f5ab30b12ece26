// SPDX-License-Identifier: Apache-2.0
// Where this process stands in a job of several, as whoever started it says: torchrun, mpirun, srun or a process
// manager that speaks PMI, each with environment variables of its own. A process is one launcher: it starts its share
// of the plan's ranks.
#pragma once

#include "executor/comm/tcp_socket.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace orrery::executor {

struct JobPlace {
  int process = 0;  ///< of num_processes, from 0
  int num_processes = 1;
  HostPort rendezvous;  ///< where process 0 waits for the others
  std::string source;   ///< who says so: "torchrun"
};

/// Looks up an environment variable; nothing when it is not set or empty.
using Variables = std::function<std::optional<std::string>(std::string_view name)>;
std::optional<std::string> variable_of_this_process(std::string_view name);

/// Nothing when nobody has started this process as one of several. `rendezvous`, if given, is what the user says.
/// Of nested environments the inner one counts, so Slurm's only where there is no other, or where another, which says
/// the same of this process, does not say where process 0 is (srun --mpi=pmi2). Throws: ConfigError, when variables are
/// missing, make no sense or contradict each other.
std::optional<JobPlace> job_place_of(const Variables& variables, const std::optional<HostPort>& rendezvous = {});

/// The first host of a list as Slurm writes it: "gpu03" of "gpu[03-05,9],login".
std::string first_host(std::string_view list);

}  // namespace orrery::executor
