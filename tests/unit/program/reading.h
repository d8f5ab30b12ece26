// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/errors.h"
#include "base/files.h"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

// Helpers of the tests that read files: the messages of a failed read, files of the repository, small edits of text.

namespace orrery::testing {

/// The whole message of the ConfigError that `read` throws; "" if it throws none.
template <class Read>
std::string problems_of(Read&& read) {
  try {
    static_cast<void>(read());
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

inline std::filesystem::path repository_path(const std::string& path) {
  return std::filesystem::path(ORRERY_SOURCE_DIR) / path;
}

inline std::string repository_text(const std::string& path) { return read_file(repository_path(path).string()); }

/// `text` with its only occurrence of `from` replaced by `to`.
inline std::string edited(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  EXPECT_EQ(text.find(from, at + 1), std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

}  // namespace orrery::testing
