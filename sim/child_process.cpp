// SPDX-License-Identifier: Apache-2.0
#include "sim/child_process.h"

#include "base/errors.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iterator>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace orrery::sim {
namespace {

[[noreturn]] void fail(const std::string& what, int error) {
  throw BackendError(fmt::format("{}: {}", what, std::strerror(error)));
}

constexpr int kPipeSize = 1 << 20;

/// Its status; nothing if it cannot be had, with the reason in errno.
std::optional<int> wait_for(pid_t process) {
  int status = 0;
  while (waitpid(process, &status, 0) < 0) {
    if (errno != EINTR) return std::nullopt;
  }
  return status;
}

}  // namespace

MemoryFile::MemoryFile(const char* name) : descriptor_(memfd_create(name, MFD_CLOEXEC)) {
  if (descriptor_ < 0) fail("cannot create a file in memory", errno);
}

MemoryFile::~MemoryFile() { close(descriptor_); }

void MemoryFile::fill(const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = write(descriptor_, text.data() + done, text.size() - done);
    if (written < 0 && errno != EINTR) fail("cannot write to a file in memory", errno);
    if (written > 0) done += static_cast<std::size_t>(written);
  }
  lseek(descriptor_, 0, SEEK_SET);
}

std::string MemoryFile::text() const {
  std::string text(static_cast<std::size_t>(lseek(descriptor_, 0, SEEK_END)), '\0');
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t read = pread(descriptor_, text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (read < 0 && errno != EINTR) fail("cannot read a file in memory", errno);
    if (read > 0) done += static_cast<std::size_t>(read);
  }
  return text;
}

Child::Child(const std::string& executable, const std::vector<std::string>& arguments, const std::string& input)
    : input_("in"), errors_("errors") {
  input_.fill(input);
  std::vector<std::string> copies = arguments;
  std::vector<char*> pointers;
  for (std::string& argument : copies) pointers.push_back(argument.data());
  pointers.push_back(nullptr);

  std::array<int, 2> pipe{};
  if (pipe2(pipe.data(), O_CLOEXEC) != 0) fail("cannot create a pipe", errno);
  const auto [end_to_read, end_to_write] = pipe;
  fcntl(end_to_write, F_SETPIPE_SZ, kPipeSize);  // fewer turns; as it is where that is not allowed
  // While the end to write is open: else opening would wait for somebody who writes.
  output_.open(fmt::format("/proc/self/fd/{}", end_to_read), std::ios::binary);
  close(end_to_read);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input_.descriptor(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, end_to_write, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors_.descriptor(), STDERR_FILENO);
  // A child that held the end to read of its own pipe, or of another's, would never be told that nobody reads.
  posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  const int error = posix_spawn(&process_, executable.c_str(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(end_to_write);
  if (error != 0) {
    process_ = 0;
    fail(fmt::format("cannot start {}", executable), error);
  }
}

Child::~Child() {
  if (process_ == 0) return;
  kill(process_, SIGKILL);
  wait_for(process_);
}

Finished Child::wait() {
  output_.close();
  const std::optional<int> status = wait_for(std::exchange(process_, 0));
  if (!status) fail("cannot wait for a child process", errno);
  return {.exit_code = WIFEXITED(*status) ? WEXITSTATUS(*status) : -1,
          .signal = WIFSIGNALED(*status) ? WTERMSIG(*status) : 0,
          .output = {},
          .errors = errors_.text()};
}

Finished run_child(const std::string& executable, const std::vector<std::string>& arguments, const std::string& input) {
  Child child(executable, arguments, input);
  std::string output(std::istreambuf_iterator<char>(child.output()), {});
  Finished finished = child.wait();
  finished.output = std::move(output);
  return finished;
}

namespace {

std::string without_last_newline(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

void throw_if_failed(const Finished& worker, std::string_view what) {
  const std::string reason = without_last_newline(worker.errors);
  if (worker.signal != 0) {
    throw BackendError(fmt::format("the {} worker was ended by signal {} ({}){}", what, worker.signal,
                                   strsignal(worker.signal), reason.empty() ? "" : ": " + reason));
  }
  switch (worker.exit_code) {
    case 0:
      return;
    case 1:
      throw InternalError(reason);
    case 2:
      throw ConfigError(reason);
    case 4:
      throw BackendError(reason);
    default:
      throw BackendError(fmt::format("the {} worker ended with exit code {}, expected 0, 1, 2 or 4: {}", what,
                                     worker.exit_code, reason));
  }
}

int exit_code_of(const std::function<void()>& work, std::ostream& errors) {
  try {
    work();
    return 0;
  } catch (const ConfigError& error) {
    errors << error.what() << '\n';
    return 2;
  } catch (const BackendError& error) {
    errors << error.what() << '\n';
    return 4;
  } catch (const std::exception& error) {
    errors << error.what() << '\n';
    return 1;
  }
}

}  // namespace orrery::sim
