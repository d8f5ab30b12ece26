// SPDX-License-Identifier: Apache-2.0
#include "base/files.h"

#include "base/errors.h"
#include "tests/unit/base/test_folder.h"

#include <csignal>
#include <filesystem>
#include <functional>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace orrery {
namespace {

namespace fs = std::filesystem;

class Files : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return test_folder_ / name; }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename());
    return names;
  }

  const orrery::testing::TestFolder test_folder_;
  const fs::path& folder_ = test_folder_.path();
};

template <class Error>
std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST_F(Files, ReadBackWhatWasWritten) {
  const std::string text = std::string("line\n\0with a zero", 17) + std::string(1000000, 'x');
  write_file_atomically(path("a"), text);
  EXPECT_EQ(read_file(path("a")), text);
  write_file_atomically(path("a"), "shorter");
  EXPECT_EQ(read_file(path("a")), "shorter");
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
}

TEST_F(Files, MissingFileIsAConfigError) {
  EXPECT_EQ(error_of<ConfigError>([&] { read_file(path("none")); }),
            path("none") + ": expected a readable file, got: No such file or directory");
}

TEST_F(Files, FolderIsNoFile) {
  EXPECT_EQ(error_of<ConfigError>([&] { read_file(folder_.string()); }),
            folder_.string() + ": expected a readable file, got: Is a directory");
  EXPECT_EQ(error_of<BackendError>([&] { write_file_atomically(folder_.string(), "x"); }),
            "cannot write " + folder_.string() + ": Is a directory");
}

TEST_F(Files, WriterNeedsTheFolder) {
  EXPECT_EQ(error_of<BackendError>([&] { write_file_atomically(path("no/where"), "x"); }),
            "cannot write " + path("no/where") + ": No such file or directory");
}

TEST_F(Files, WithoutCommitLeavesTheOldFile) {
  write_file_atomically(path("a"), "old");
  {
    AtomicFile file(path("a"));
    file.append("new");
  }
  EXPECT_EQ(read_file(path("a")), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
}

TEST_F(Files, AppendsPieces) {
  AtomicFile file(path("a"));
  std::string expected;
  for (int i = 0; i < 100000; ++i) {
    file.append("0123456789");
    expected += "0123456789";
  }
  file.commit();
  EXPECT_EQ(read_file(path("a")), expected);
}

TEST_F(Files, FullDiskIsReported) {
  EXPECT_EQ(error_of<BackendError>([&] { write_file_atomically("/dev/full", "x"); }),
            "cannot write /dev/full: No space left on device");
}

TEST_F(Files, FailedWriteLeavesNothingBehind) {
  // A limit on the size of files fails like a full disk, in the middle of the writing.
  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{.rlim_cur = 1 << 20, .rlim_max = old_limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  EXPECT_EQ(error_of<BackendError>([&] { write_file_atomically(path("a"), std::string(3 << 20, 'x')); }),
            "cannot write " + path("a") + ": File too large");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_TRUE(names().empty());
}

TEST_F(Files, NamesOfAFolderAreBroughtToTheDiskOrItIsSaidWhyNot) {
  EXPECT_NO_THROW(sync_folder(folder_.string()));
  EXPECT_NO_THROW(sync_folder(""));  // this one
  EXPECT_EQ(error_of<BackendError>([&] { sync_folder(path("none")); }),
            "cannot write folder " + path("none") + ": No such file or directory");
}

TEST_F(Files, FollowSymbolicLinks) {
  write_file_atomically(path("target"), "old");
  fs::create_symlink(path("target"), path("link"));
  write_file_atomically(path("link"), "new");
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read_file(path("target")), "new");
}

TEST_F(Files, WriteIntoPipesInsteadOfReplacingThem) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string name = "/dev/fd/" + std::to_string(ends[1]);
  write_file_atomically(name, "hello");
  char buffer[8];
  EXPECT_EQ(read(ends[0], buffer, sizeof buffer), 5);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace orrery
