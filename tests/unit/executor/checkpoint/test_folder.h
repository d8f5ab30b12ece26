// SPDX-License-Identifier: Apache-2.0
// A folder of one test, empty at first, and files in it.
#pragma once

#include "base/files.h"

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace orrery::executor::testing {

class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "orrery-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
    path_ = name;
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// What an action throws, with `folder` left out of it; empty if nothing.
template <class Action>
std::string error_of(const TestFolder& folder, Action&& action) {
  try {
    action();
  } catch (const std::exception& error) {
    std::string text = error.what();
    const std::string prefix = folder.path().string() + "/";
    for (std::size_t at; (at = text.find(prefix)) != std::string::npos;) text.erase(at, prefix.size());
    return text;
  }
  return "";
}

/// Changes a file in place: its bytes go through `change(std::string&)`.
template <class Change>
void change_file(const std::string& path, Change&& change) {
  std::string text = read_file(path);
  change(text);
  write_file_atomically(path, text);
}

}  // namespace orrery::executor::testing
