// SPDX-License-Identifier: Apache-2.0
// Another program run to its end: text in, text out. Started by exec and never by a bare fork, since SimGrid and
// OpenMP do not survive one. Input and output are files in memory, so neither side can block the other.
#pragma once

#include <string>
#include <vector>

namespace orrery::sim {

struct Finished {
  int exit_code = 0;  // -1: a signal ended it
  int signal = 0;
  std::string output, errors;
};

/// Runs `executable` with `arguments` (the first of them is its name) and waits for its end.
/// Throws: BackendError if it cannot be started.
Finished run_child(const std::string& executable, const std::vector<std::string>& arguments, const std::string& input);

}  // namespace orrery::sim
