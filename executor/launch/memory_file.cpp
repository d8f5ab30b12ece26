// SPDX-License-Identifier: Apache-2.0
#include "executor/launch/memory_file.h"

#include "base/errors.h"

#include <cerrno>
#include <system_error>

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

namespace orrery::executor {

MemoryFile::MemoryFile(std::string_view text) : descriptor_(::memfd_create("orrery", MFD_CLOEXEC)) {
  while (descriptor_.is_open() && !text.empty()) {
    const ssize_t count = ::write(descriptor_.number(), text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  if (!text.empty())
    throw BackendError(fmt::format("cannot make a file in memory: {}", std::system_category().message(errno)));
}

std::string MemoryFile::path() const { return fmt::format("/proc/{}/fd/{}", ::getpid(), descriptor_.number()); }

}  // namespace orrery::executor
