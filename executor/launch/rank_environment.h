// SPDX-License-Identifier: Apache-2.0
// What a launcher tells a rank, through environment variables. Private to `launch/`.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace orrery::executor {

struct RankEnvironment {
  int rank = 0;  ///< of all ranks of the run
  int num_threads = 1;
  int segment_descriptor = -1;
  int result_descriptor = -1;    ///< set by ChildProcess
  int launcher = 0;              ///< its process
  int listener_descriptor = -1;  ///< with ranks on other hosts, where they reach this one; -1 without
  std::string seat_file;         ///< where the others listen (seat_file.h)
  bool uses_mpi = false;         ///< whether ranks of other processes are reached over MPI, and not over TCP

  /// The environment of this process with `changes`, then these values: "NAME=value" each.
  std::vector<std::string> variables(const std::vector<std::pair<std::string, std::string>>& changes) const;

  /// Reads what `variables` wrote. Throws: ConfigError, when this process was not started by a launcher.
  static RankEnvironment of_this_process();
};

}  // namespace orrery::executor
