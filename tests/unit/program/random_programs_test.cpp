// SPDX-License-Identifier: Apache-2.0
// Properties of programs over random legal strategies.
#include "program/lower.h"
#include "program/verify.h"
#include "tests/unit/program/random_strategies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::IsEmpty;

TEST(RandomPrograms, AreSound) {
  testing::for_random_cases(2000, [](const testing::RandomCase& c, std::uint64_t index) {
    ASSERT_THAT(verify(lower(c.model, c.strategy, c.batch, c.num_devices)), IsEmpty()) << "case " << index;
  });
}

}  // namespace
}  // namespace orrery
