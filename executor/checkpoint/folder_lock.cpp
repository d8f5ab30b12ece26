// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/folder_lock.h"

#include "base/errors.h"
#include "base/files.h"
#include "executor/comm/host_name.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

constexpr const char* kLockFile = ".lock";

std::string own_name() { return fmt::format("process {} on {}", ::getpid(), own_host_name()); }

}  // namespace

FolderLock::FolderLock(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw BackendError(fmt::format("cannot make {}: {}", folder.string(), error.message()));
  const std::string path = (folder / kLockFile).string();
  file_ = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!file_.is_open()) throw BackendError(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
  if (::flock(file_.number(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) throw BackendError(fmt::format("cannot lock {}: {}", path, std::strerror(errno)));
    throw ConfigError({Problem{
        .file = folder.string(),
        .message = fmt::format("expected a folder that no other run saves in, got that of {}", read_file(path)),
        .hint = "--checkpoint with another folder, or when that run has ended"}});
  }
  const std::string name = own_name();
  if (::ftruncate(file_.number(), 0) != 0 ||
      ::pwrite(file_.number(), name.data(), name.size(), 0) != static_cast<ssize_t>(name.size())) {
    throw BackendError(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
  }
}

}  // namespace orrery::executor
