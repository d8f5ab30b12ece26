// SPDX-License-Identifier: Apache-2.0
// One started rank as its launcher sees it: a process, a pipe with what it prints and a pipe with its result. Private
// to `launch/`.
#pragma once

#include "executor/comm/descriptor.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace orrery::executor {

class ChildProcess {
 public:
  /// The environment variable that tells the child where its result goes.
  static constexpr std::string_view kResultVariable = "ORRERY_RESULT_FD";

  /// Starts `command` (path, then arguments) with `environment` ("NAME=value") and with `inherited` kept open.
  /// Throws: BackendError, when the system cannot.
  ChildProcess(const std::vector<std::string>& command, std::vector<std::string> environment,
               const std::vector<int>& inherited);
  ChildProcess(ChildProcess&& other) noexcept;

  /// Kills the process if it still runs, and waits for its end.
  ~ChildProcess();

  /// The pipes that may still bring something.
  std::vector<int> open_pipes() const;

  /// Takes what the pipes hold now; hands each finished line, without its end, to `on_line`.
  void read_pipes(const std::function<void(std::string_view)>& on_line);

  /// How the process ended, in the form of waitpid; none while it runs. `before_reaping` is called when it has ended,
  /// while its number still cannot be taken by another process.
  std::optional<int> poll_exit(const std::function<void(int status)>& before_reaping);

  /// Whether poll_exit has returned how.
  bool has_ended() const { return status_.has_value(); }

  void signal(int number);
  const std::string& result() const { return result_; }

 private:
  pid_t process_ = -1;
  Descriptor lines_pipe_;
  Descriptor result_pipe_;
  std::string line_;  // its end has not come yet
  std::string result_;
  std::optional<int> status_;
};

}  // namespace orrery::executor
