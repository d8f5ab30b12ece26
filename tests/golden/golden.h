// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/files.h"

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

namespace orrery::testing {

/// Compares with a file below tests/golden. With ORRERY_UPDATE_GOLDEN=1 it writes the file first; the diff is then for
/// review.
inline void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(ORRERY_SOURCE_DIR "/tests/golden/") + name;
  if (std::getenv("ORRERY_UPDATE_GOLDEN") != nullptr) write_file_atomically(path, text);
  EXPECT_EQ(text, read_file(path)) << "ORRERY_UPDATE_GOLDEN=1 writes " << path << " anew";
}

}  // namespace orrery::testing
