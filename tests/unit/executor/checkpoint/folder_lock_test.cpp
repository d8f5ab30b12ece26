// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/folder_lock.h"

#include "base/errors.h"
#include "base/files.h"
#include "tests/unit/base/test_folder.h"

#include <csignal>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string refusal_of(const std::filesystem::path& folder) {
  try {
    const FolderLock lock(folder);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(FolderLock, OneRunAtATimeHasAFolder) {
  const orrery::testing::TestFolder place;
  const std::filesystem::path folder = place / "new/saved";
  std::optional<FolderLock> first(std::in_place, folder);
  EXPECT_THAT(refusal_of(folder),
              StartsWith(folder.string() + ": expected a folder that no other run saves in, got that of process " +
                         std::to_string(::getpid()) + " on "));
  EXPECT_EQ(refusal_of(place / "other"), "");
  first.reset();
  EXPECT_EQ(refusal_of(folder), "");
}

TEST(FolderLock, AProcessThatIsKilledLeavesNoLock) {
  const orrery::testing::TestFolder place;
  int ready[2] = {};
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const FolderLock lock(place.path());
    [[maybe_unused]] const auto told = ::write(ready[1], "x", 1);
    ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THAT(refusal_of(place.path()), HasSubstr("got that of process " + std::to_string(child) + " on "));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(refusal_of(place.path()), "");
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(FolderLock, AFolderThatCannotBeMadeIsAFailureOfTheSystem) {
  const orrery::testing::TestFolder place;
  write_file_atomically(place / "file", "");
  EXPECT_THROW(FolderLock(place / "file/saved"), BackendError);
  EXPECT_THROW(FolderLock("/proc/saved"), BackendError);
}

}  // namespace
}  // namespace orrery::executor
