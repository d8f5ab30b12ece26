// SPDX-License-Identifier: Apache-2.0
#include "base/files.h"

#include "base/check.h"
#include "base/errors.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace orrery {
namespace {

constexpr std::size_t kBufferSize = 1 << 18;

/// Where a name leads after symbolic links; the name itself if nothing is there yet.
std::string resolved(const std::string& path) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::canonical(path, error);
  return error ? path : target.string();
}

/// A device, pipe or socket: it is written to directly, since a rename would replace it.
bool is_special(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

}  // namespace

std::string read_file(const std::string& path) {
  const auto fail = [&]() {
    throw ConfigError(
        {Problem{.file = path, .message = fmt::format("expected a readable file, got: {}", std::strerror(errno))}});
  };
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail();
  std::string text;
  ssize_t count = 1;
  while (count > 0) {
    const std::size_t size = text.size();
    text.resize(size + kBufferSize);
    do {
      count = read(descriptor, text.data() + size, kBufferSize);
    } while (count < 0 && errno == EINTR);
    text.resize(size + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  }
  const int read_errno = errno;
  close(descriptor);
  errno = read_errno;
  if (count < 0) fail();
  text.shrink_to_fit();  // there may be room for another buffer, and some callers keep the text
  return text;
}

void write_file_atomically(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.append(text);
  file.commit();
}

void sync_folder(const std::string& path) {
  const int descriptor = open(path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool written = descriptor >= 0 && fsync(descriptor) == 0;
  const int first_errno = errno;
  if (descriptor >= 0) close(descriptor);
  if (!written) throw BackendError(fmt::format("cannot write folder {}: {}", path, std::strerror(first_errno)));
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  const std::string target = resolved(path_);
  if (is_special(target)) {
    descriptor_ = open(target.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    temporary_path_ = fmt::format("{}.{}.tmp", target, getpid());
    descriptor_ = open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  }
  if (descriptor_ < 0) fail();
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  if (!temporary_path_.empty()) unlink(temporary_path_.c_str());
}

void AtomicFile::append(std::string_view text) {
  CHECK(descriptor_ >= 0, path_);
  buffer_ += text;
  if (buffer_.size() >= kBufferSize) flush();
}

void AtomicFile::commit(Durability durability) {
  CHECK(descriptor_ >= 0, path_);
  flush();
  const bool on_disk = durability == Durability::on_disk && !temporary_path_.empty();
  if (on_disk && fsync(descriptor_) != 0) fail();
  // Some file systems report a full disk only when the file is closed.
  const bool closed = close(std::exchange(descriptor_, -1)) == 0;
  if (temporary_path_.empty()) {
    if (!closed) fail();
    return;
  }
  if (!closed || rename(temporary_path_.c_str(), resolved(path_).c_str()) != 0) {
    const int first_errno = errno;
    unlink(temporary_path_.c_str());
    errno = first_errno;
    fail();
  }
  if (on_disk) sync_folder(std::filesystem::path(resolved(path_)).parent_path());  // the name, too
}

void AtomicFile::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t written = write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail();
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  buffer_.clear();
}

void AtomicFile::fail() const { throw BackendError(fmt::format("cannot write {}: {}", path_, std::strerror(errno))); }

}  // namespace orrery
