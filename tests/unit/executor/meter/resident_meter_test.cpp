// SPDX-License-Identifier: Apache-2.0
#include "executor/meter/resident_meter.h"

#include <cstddef>
#include <cstring>
#include <memory>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

// The address sanitizer keeps a byte of its own for each eight.
#if defined(__SANITIZE_ADDRESS__)
constexpr double kShadow = 8.0;  // MiB, of 64
#else
constexpr double kShadow = 0.0;
#endif

// 64 MiB that are written are resident, also after they have been given back; those that are not written are not.
TEST(ResidentMeter, CountsTheMostThatWasTaken) {
  constexpr std::size_t kSize = std::size_t{64} << 20;
  const ResidentMeter before;
  if (!before.most()) GTEST_SKIP() << "/proc/self/clear_refs cannot be written";
  {
    const std::unique_ptr<std::byte[]> untouched(new std::byte[kSize]);
    EXPECT_LT(*before.most(), mib(8 + kShadow));
    std::memset(untouched.get(), 1, kSize);
    EXPECT_GT(*before.most(), mib(60));
  }
  EXPECT_GT(*before.most(), mib(60));
  EXPECT_LT(*before.most(), mib(72 + kShadow));
  const ResidentMeter after;
  EXPECT_LT(*after.most(), mib(8));
}

}  // namespace
}  // namespace orrery::executor
