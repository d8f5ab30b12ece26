// SPDX-License-Identifier: Apache-2.0
// What tests of files that are wrong need.
#pragma once

#include "base/files.h"
#include "tests/unit/base/test_folder.h"

#include <exception>
#include <string>

namespace orrery::executor::testing {

using orrery::testing::TestFolder;

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
