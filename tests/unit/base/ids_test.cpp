// SPDX-License-Identifier: Apache-2.0
#include "base/ids.h"

#include <type_traits>
#include <unordered_set>

#include <gtest/gtest.h>

namespace orrery {
namespace {

using StageId = Id<struct StageTag>;
using OpId = Id<struct OpTag, std::int64_t>;

TEST(Ids, AreComparedByTheirValue) {
  EXPECT_EQ(StageId(3), StageId(3));
  EXPECT_LT(StageId(2), StageId(3));
  EXPECT_EQ(StageId(3).value(), 3);
  EXPECT_EQ(StageId(3).index(), 3u);
}

TEST(Ids, PointNowhereByDefault) {
  EXPECT_TRUE(StageId().is_none());
  EXPECT_EQ(StageId(), StageId::none());
  EXPECT_FALSE(StageId(0).is_none());
}

TEST(Ids, AreHashed) {
  const std::unordered_set<OpId> ops = {OpId(1), OpId(2), OpId(1)};
  EXPECT_EQ(ops.size(), 2u);
}

TEST(Ids, AreAsSmallAsTheirInteger) {
  static_assert(sizeof(StageId) == 4 && sizeof(OpId) == 8);
  static_assert(std::is_trivially_copyable_v<StageId>);
  static_assert(!std::is_convertible_v<StageId, OpId> && !std::is_convertible_v<int, StageId>);
}

}  // namespace
}  // namespace orrery
