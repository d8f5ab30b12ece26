// SPDX-License-Identifier: Apache-2.0
#include "sim/child_process.h"

#include "base/errors.h"

#include <csignal>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

constexpr std::size_t kLong = 5'000'000;  // more than a pipe holds

Finished shell(const std::string& script, const std::string& input = "") {
  return run_child("/bin/sh", {"sh", "-c", script}, input);
}

TEST(ChildProcess, GetsInputAndGivesOutput) {
  const Finished child = shell("cat; echo trouble >&2; exit 7", "text");
  EXPECT_EQ(child.exit_code, 7);
  EXPECT_EQ(child.signal, 0);
  EXPECT_EQ(child.output, "text");
  EXPECT_EQ(child.errors, "trouble\n");
}

TEST(ChildProcess, MayLeaveItsInputUnread) { EXPECT_EQ(shell("exit 0", std::string(kLong, 'x')).exit_code, 0); }

TEST(ChildProcess, MayWriteMoreThanAPipeHolds) {
  EXPECT_EQ(shell("cat; cat /dev/null >&2", std::string(kLong, 'x')).output.size(), kLong);
}

TEST(ChildProcess, MayLeaveItsOutputInAFile) {
  const MemoryFile output("output");
  const Finished child = run_child("/bin/sh", {"sh", "-c", "cat"}, std::string(kLong, 'x'), output);
  EXPECT_EQ(child.exit_code, 0);
  EXPECT_EQ(child.output, "");
  std::ifstream in(output.path());
  std::string text;
  std::getline(in, text);
  EXPECT_EQ(text, std::string(kLong, 'x'));
}

TEST(ChildProcess, TellsTheSignalThatEndedIt) {
  const Finished child = shell("kill -KILL $$");
  EXPECT_EQ(child.exit_code, -1);
  EXPECT_EQ(child.signal, SIGKILL);
}

TEST(ChildProcess, SaysWhyItCannotBeStarted) {
  try {
    run_child("/no/such/program", {"program"}, "");
    FAIL() << "expected a BackendError";
  } catch (const BackendError& error) {
    EXPECT_STREQ(error.what(), "cannot start /no/such/program: No such file or directory");
  }
}

}  // namespace
}  // namespace orrery::sim
