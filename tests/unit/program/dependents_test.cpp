// SPDX-License-Identifier: Apache-2.0
#include "program/dependents.h"

#include "tests/conformance/programs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Dependents, AddTheNextOpOfTheQueue) {
  testing::ProgramBuilder builder;
  const OpIndex first = builder.compute(0, microseconds(1));
  const OpIndex reduce = builder.all_reduce(0, Queue::dp, Group::dp, 1, {first});
  const OpIndex second = builder.compute(0, microseconds(1));
  const OpIndex third = builder.compute(0, microseconds(1), {reduce});
  const Dependents dependents(builder.program().classes[0]);
  EXPECT_THAT(dependents.of(first), ElementsAre(reduce, second));
  EXPECT_THAT(dependents.of(reduce), ElementsAre(third));
  EXPECT_THAT(dependents.of(second), ElementsAre(third));
  EXPECT_THAT(dependents.of(third), IsEmpty());
  EXPECT_THAT(dependents.num_predecessors(), ElementsAre(0, 1, 1, 2));
}

TEST(Dependents, CountAnOpTwiceThatIsDependencyAndPredecessor) {
  testing::ProgramBuilder builder;
  const OpIndex first = builder.compute(0, microseconds(1));
  const OpIndex second = builder.compute(0, microseconds(1), {first});
  const Dependents dependents(builder.program().classes[0]);
  EXPECT_THAT(dependents.of(first), ElementsAre(second, second));
  EXPECT_THAT(dependents.num_predecessors(), ElementsAre(0, 2));
}

TEST(Dependents, OfAnEmptyClassAreNone) {
  const testing::ProgramBuilder builder;
  EXPECT_THAT(Dependents(builder.program().classes[0]).num_predecessors(), IsEmpty());
}

}  // namespace
}  // namespace orrery
