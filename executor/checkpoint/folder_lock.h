// SPDX-License-Identifier: Apache-2.0
// One run at a time saves in a folder: two would remove each other's unfinished saves. A run holds a lock of the system
// (flock) on the file `.lock` in it; the kernel gives it back when the process ends, however it ends, so that nothing
// stale is left. The file stays, and says who had it last.
#pragma once

#include "executor/comm/descriptor.h"

#include <filesystem>

namespace orrery::executor {

class FolderLock {
 public:
  /// Makes the folder if there is none. Throws: ConfigError, when another run is at work there; BackendError, when the
  /// folder cannot be made or written.
  explicit FolderLock(const std::filesystem::path& folder);

 private:
  Descriptor file_;
};

}  // namespace orrery::executor
