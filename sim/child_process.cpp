// SPDX-License-Identifier: Apache-2.0
#include "sim/child_process.h"

#include "base/errors.h"

#include <array>
#include <cerrno>
#include <cstring>

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

}  // namespace

MemoryFile::MemoryFile(const char* name) : descriptor_(memfd_create(name, MFD_CLOEXEC)) {
  if (descriptor_ < 0) fail("cannot create a file in memory", errno);
}

MemoryFile::~MemoryFile() { close(descriptor_); }

std::string MemoryFile::path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

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

Finished run_child(const std::string& executable, const std::vector<std::string>& arguments, const std::string& input) {
  const MemoryFile out("out");
  Finished child = run_child(executable, arguments, input, out);
  child.output = out.text();
  return child;
}

Finished run_child(const std::string& executable, const std::vector<std::string>& arguments, const std::string& input,
                   const MemoryFile& out) {
  MemoryFile in("in"), errors("errors");
  in.fill(input);

  std::vector<std::string> copies = arguments;
  std::vector<char*> pointers;
  for (std::string& argument : copies) pointers.push_back(argument.data());
  pointers.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.descriptor(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.descriptor(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors.descriptor(), STDERR_FILENO);
  pid_t child = 0;
  const int error = posix_spawn(&child, executable.c_str(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) fail(fmt::format("cannot start {}", executable), error);

  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail("cannot wait for a child process", errno);
  }
  return {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
          .output = {},
          .errors = errors.text()};
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
