// SPDX-License-Identifier: Apache-2.0
// A private folder for the files that pass between a launching process and its ranks; gone with the object.
#pragma once

#include <filesystem>

namespace orrery::executor {

class ScratchFolder {
 public:
  /// Throws: BackendError, when the system gives none.
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace orrery::executor
