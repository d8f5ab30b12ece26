// SPDX-License-Identifier: Apache-2.0
#include "executor/launch/child_process.h"

#include "base/errors.h"

#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

struct Pipe {
  Descriptor read_end;
  Descriptor write_end;
};

// Both ends are closed by exec, so that no other child can hold a pipe open.
Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    throw BackendError(fmt::format("cannot make a pipe: {}", std::system_category().message(errno)));
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Appends what the pipe holds; closes it at its end.
void read_available(Descriptor& pipe, std::string& text) {
  char buffer[1 << 16];
  while (pipe.is_open()) {
    const ssize_t count = ::read(pipe.number(), buffer, sizeof buffer);
    if (count > 0) {
      text.append(buffer, static_cast<std::size_t>(count));
    } else if (count < 0 && errno == EINTR) {
      continue;
    } else if (count < 0 && errno == EAGAIN) {
      return;
    } else {
      pipe.close();
    }
  }
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& command, std::vector<std::string> environment,
                           const std::vector<int>& inherited) {
  Pipe lines = make_pipe();
  Pipe result = make_pipe();
  environment.push_back(fmt::format("{}={}", kResultVariable, result.write_end.number()));
  std::vector<std::string> arguments = command;

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, lines.write_end.number(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, lines.write_end.number(), STDERR_FILENO);
  // A duplicate onto itself takes away the flag that closes it at exec.
  ::posix_spawn_file_actions_adddup2(&actions, result.write_end.number(), result.write_end.number());
  for (const int kept : inherited) ::posix_spawn_file_actions_adddup2(&actions, kept, kept);
  const int error = ::posix_spawn(&process_, command.front().c_str(), &actions, nullptr, pointers_to(arguments).data(),
                                  pointers_to(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    process_ = -1;
    throw BackendError(fmt::format("cannot start '{}': {}", command.front(), std::system_category().message(error)));
  }
  lines_pipe_ = std::move(lines.read_end);
  result_pipe_ = std::move(result.read_end);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : process_(std::exchange(other.process_, -1)),
      lines_pipe_(std::move(other.lines_pipe_)),
      result_pipe_(std::move(other.result_pipe_)),
      line_(std::move(other.line_)),
      result_(std::move(other.result_)),
      status_(other.status_) {}

ChildProcess::~ChildProcess() {
  if (process_ < 0 || status_) return;
  signal(SIGKILL);
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::vector<int> ChildProcess::open_pipes() const {
  std::vector<int> pipes;
  if (lines_pipe_.is_open()) pipes.push_back(lines_pipe_.number());
  if (result_pipe_.is_open()) pipes.push_back(result_pipe_.number());
  return pipes;
}

void ChildProcess::read_pipes(const std::function<void(std::string_view)>& on_line) {
  read_available(result_pipe_, result_);
  read_available(lines_pipe_, line_);
  std::size_t begin = 0;
  for (std::size_t end; (end = line_.find('\n', begin)) != std::string::npos; begin = end + 1)
    on_line(std::string_view(line_).substr(begin, end - begin));
  line_.erase(0, begin);
  if (!lines_pipe_.is_open() && !line_.empty()) on_line(std::exchange(line_, ""));  // the last one may lack its end
}

std::optional<int> ChildProcess::poll_exit(const std::function<void(int status)>& before_reaping) {
  if (status_) return status_;
  siginfo_t info = {};
  if (::waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
    return std::nullopt;
  // In the words of waitpid: the exit status in the second byte, or the signal in the first one.
  const int status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
  before_reaping(status);
  ::waitpid(process_, nullptr, 0);
  return status_ = status;
}

void ChildProcess::signal(int number) {
  if (process_ > 0 && !status_) ::kill(process_, number);
}

}  // namespace orrery::executor
