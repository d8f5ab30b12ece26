// SPDX-License-Identifier: Apache-2.0
// Another program run to its end: text in, text out. Started by exec and never by a bare fork, since SimGrid and
// OpenMP do not survive one. Input and output are files in memory, so neither side can block the other.
#pragma once

#include <functional>
#include <ostream>
#include <string>
#include <string_view>
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

/// Passes on the failure of a worker of ours as the exception that ended it; `what` it was: "simulation".
/// Throws: ConfigError, BackendError, InternalError by its exit code; BackendError if a signal ended it.
void throw_if_failed(const Finished& worker, std::string_view what);

/// The side of the worker: runs `work` and returns 0, or writes the reason to `errors` and returns the code of its
/// kind.
int exit_code_of(const std::function<void()>& work, std::ostream& errors);

}  // namespace orrery::sim
