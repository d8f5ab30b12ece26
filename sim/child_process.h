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

/// A file without a name that lives in memory, and not in that of a process until it is read.
class MemoryFile {
 public:
  /// `name`: for who looks at the process. Throws: BackendError if there is no room for a file.
  explicit MemoryFile(const char* name);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int descriptor() const { return descriptor_; }
  /// To open it from its start, in this process and while this object lives.
  std::string path() const;

  /// Fills the file and goes back to its start, where a child will read.
  void fill(const std::string& text);
  std::string text() const;

 private:
  int descriptor_;
};

struct Finished {
  int exit_code = 0;  // -1: a signal ended it
  int signal = 0;
  std::string output, errors;
};

/// Runs `executable` with `arguments` (the first of them is its name) and waits for its end.
/// Throws: BackendError if it cannot be started.
Finished run_child(const std::string& executable, const std::vector<std::string>& arguments, const std::string& input);

/// The same, for output that is large: it is left in `output`, to be read from there, and not in what is returned.
Finished run_child(const std::string& executable, const std::vector<std::string>& arguments, const std::string& input,
                   const MemoryFile& output);

/// Passes on the failure of a worker of ours as the exception that ended it; `what` it was: "simulation".
/// Throws: ConfigError, BackendError, InternalError by its exit code; BackendError if a signal ended it.
void throw_if_failed(const Finished& worker, std::string_view what);

/// The side of the worker: runs `work` and returns 0, or writes the reason to `errors` and returns the code of its
/// kind.
int exit_code_of(const std::function<void()>& work, std::ostream& errors);

}  // namespace orrery::sim
