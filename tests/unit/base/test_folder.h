// SPDX-License-Identifier: Apache-2.0
// Where tests write files: into a folder that only they know, since tests run beside each other and several people
// test on one machine.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include <unistd.h>

namespace orrery::testing {

/// A folder of one test, empty at first. It goes with the process that made it, not with those it forks.
class TestFolder {
 public:
  TestFolder() : owner_(getpid()) {
    std::string name = (std::filesystem::temp_directory_path() / "orrery-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
    path_ = name;
  }
  ~TestFolder() {
    if (getpid() == owner_) std::filesystem::remove_all(path_);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  pid_t owner_;
  std::filesystem::path path_;
};

/// The path of a file `name` in a folder of this process, for tests that need no more than one.
inline std::string own_path(const std::string& name) {
  static const TestFolder folder;
  return folder / name;
}

}  // namespace orrery::testing
