// SPDX-License-Identifier: Apache-2.0
// Another program beside this one: text in, text out. Started by exec and never by a bare fork, since SimGrid and
// OpenMP do not survive one. Input and errors are files in memory, output comes through a pipe: who reads it to its end
// while the child runs can block nobody.
#pragma once

#include <fstream>
#include <functional>
#include <istream>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace orrery::sim {

/// A file without a name that lives in memory.
class MemoryFile {
 public:
  /// `name`: for who looks at the process. Throws: BackendError if there is no room for a file.
  explicit MemoryFile(const char* name);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int descriptor() const { return descriptor_; }

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

/// A program that runs beside this one.
class Child {
 public:
  /// Starts `executable` with `arguments` (the first of them is its name).
  /// Throws: BackendError if it cannot be started.
  Child(const std::string& executable, const std::vector<std::string>& arguments, const std::string& input);
  /// Ends it unless wait() was called.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// What it writes, as far as it has come; reading waits for more until the child ends.
  std::istream& output() { return output_; }
  /// Takes no more output and waits for its end: a child that goes on writing is ended by SIGPIPE. What it wrote is not
  /// in what is returned. Requires: not called before.
  Finished wait();

 private:
  MemoryFile input_, errors_;
  std::ifstream output_;
  pid_t process_ = 0;  // 0: it has been waited for
};

/// Runs a program to its end.
/// Throws: BackendError if it cannot be started.
Finished run_child(const std::string& executable, const std::vector<std::string>& arguments, const std::string& input);

/// Passes on the failure of a worker of ours as the exception that ended it; `what` it was: "simulation".
/// Throws: ConfigError, BackendError, InternalError by its exit code; BackendError if a signal ended it.
void throw_if_failed(const Finished& worker, std::string_view what);

/// The side of the worker: runs `work` and returns 0, or writes the reason to `errors` and returns the code of its
/// kind.
int exit_code_of(const std::function<void()>& work, std::ostream& errors);

}  // namespace orrery::sim
