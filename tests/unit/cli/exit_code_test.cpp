// SPDX-License-Identifier: Apache-2.0
#include "cli/exit_code.h"

#include "base/errors.h"

#include <new>
#include <string>
#include <system_error>

#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

struct Reported {
  int code = 0;
  std::string message;
};

template <class Exception>
Reported report(const Exception& exception) {
  ::testing::internal::CaptureStderr();
  Reported reported;
  try {
    throw exception;
  } catch (...) {
    reported.code = report_exception();
  }
  reported.message = ::testing::internal::GetCapturedStderr();
  return reported;
}

TEST(ExitCode, IsTwoForBadInputWithTheBareMessage) {
  const Reported reported = report(ConfigError({Problem{
      .file = "ep48.json", .line = 4, .pointer = "/ep", .message = "expected a divisor", .hint = "32 or 64"}}));
  EXPECT_EQ(reported.code, 2);
  EXPECT_EQ(reported.message, "ep48.json:4: /ep: expected a divisor\n  hint: 32 or 64\n");
}

TEST(ExitCode, IsFourWhenTheSystemOrAPeerFails) {
  const Reported reported = report(BackendError(3, "mb0/stage1", "no answer"));
  EXPECT_EQ(reported.code, 4);
  EXPECT_EQ(reported.message, "orrery: rank 3, mb0/stage1: no answer\n");
  EXPECT_EQ(report(std::system_error(std::make_error_code(std::errc::permission_denied), "folder")).code, 4);
  EXPECT_EQ(report(std::bad_alloc()).message, "orrery: the machine has no memory left\n");
}

TEST(ExitCode, IsOneForOurBugs) {
  const Reported reported = report(InternalError("planner/search.cpp:41: CHECK failed"));
  EXPECT_EQ(reported.code, 1);
  EXPECT_EQ(reported.message, "orrery: this is a bug, please report it: planner/search.cpp:41: CHECK failed\n");
  EXPECT_EQ(report(42).code, 1);
}

}  // namespace
}  // namespace orrery::cli
