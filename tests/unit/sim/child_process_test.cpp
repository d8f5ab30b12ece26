// SPDX-License-Identifier: Apache-2.0
#include "sim/child_process.h"

#include "base/errors.h"

#include <csignal>
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

/// What a child writes first: its process.
pid_t process_of(Child& child) {
  pid_t process = 0;
  child.output() >> process;
  return process;
}

TEST(ChildProcess, IsReadWhileItRuns) {
  Child child("/bin/sh", {"sh", "-c", "trap 'echo told; exit 7' USR1; echo $$; while :; do sleep 0.01; done"}, "");
  const pid_t process = process_of(child);
  ASSERT_GT(process, 0);
  kill(process, SIGUSR1);
  std::string text;
  child.output() >> text;
  EXPECT_EQ(text, "told");
  EXPECT_FALSE(child.output() >> text);
  EXPECT_EQ(child.wait().exit_code, 7);
}

TEST(ChildProcess, IsEndedByAPipeThatNobodyReads) {
  Child child("/bin/sh", {"sh", "-c", "exec cat"}, std::string(kLong, 'x'));
  EXPECT_EQ(child.output().get(), 'x');
  EXPECT_EQ(child.wait().signal, SIGPIPE);
}

TEST(ChildProcess, DoesNotOutliveItsObject) {
  pid_t process = 0;
  {
    Child child("/bin/sh", {"sh", "-c", "echo $$; exec sleep 1000"}, "");
    process = process_of(child);
  }
  ASSERT_GT(process, 0);
  EXPECT_EQ(kill(process, 0), -1);  // not even as one that nobody has waited for
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
