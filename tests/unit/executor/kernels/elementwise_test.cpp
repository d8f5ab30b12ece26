// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/elementwise.h"

#include "base/errors.h"
#include "tests/unit/executor/kernels/values.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

TEST(Add, RoundsTheF32SumOnce) {
  const Values a = Values::of({1.0, 1.0, -3.0, 0.5}, 2, DType::bf16);
  const Values b = Values::of({0.25, 1.0 / 256, 1.0, 2.0}, 2, DType::f32);
  Values sum(2, 2, DType::bf16);
  add(a, b, sum);
  EXPECT_EQ(sum.doubles(), (Doubles{1.25, 1.0, -2.0, 2.5}));  // 1 + 2^-8 is a tie, to even
}

TEST(Add, MayWriteOverAnOperand) {
  Values a = Values::of({1.0, 2.0, 3.0}, 1);
  add(a, Values::of({10.0, 20.0, 30.0}, 1), a);
  EXPECT_EQ(a.doubles(), (Doubles{11.0, 22.0, 33.0}));
}

TEST(Add, RefusesDifferentShapes) {
  Values out(2, 3);
  EXPECT_THROW(add(Values(2, 3), Values(3, 2), out), InternalError);
}

TEST(Convert, WidensExactlyAndNarrowsWithRounding) {
  const Values wide = Values::of({1.0, 1.0 + 1.0 / 128, 1.0 + 1.0 / 512}, 1);
  Values narrow(1, 3, DType::bf16);
  convert(wide, narrow);
  EXPECT_EQ(narrow.doubles(), (Doubles{1.0, 1.0 + 1.0 / 128, 1.0}));
}

TEST(Convert, LeavesTheColumnsBesideAStridedViewAlone) {
  Values out = Values::of({1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, 2);
  convert(Values::of({-1.0, -2.0}, 2), out.view().col_block(1, 1));
  EXPECT_EQ(out.doubles(), (Doubles{1.0, -1.0, 3.0, 4.0, -2.0, 6.0}));
}

TEST(FillZero, ClearsTheViewOnly) {
  Values out = Values::of({1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, 3, DType::bf16);
  fill_zero(out.view().row_block(1, 1));
  EXPECT_EQ(out.doubles(), (Doubles{1.0, 2.0, 0.0, 0.0, 5.0, 6.0}));
}

TEST(Widened, IsTheMatrixItselfWhenItIsF32) {
  std::vector<float> storage;
  const Values wide = Values::random(2, 3, "x");
  EXPECT_EQ(widened(wide, storage).first, wide.view().first);
  const Values narrow = Values::random(2, 3, "x", DType::bf16);
  const ConstMatrix copy = widened(narrow, storage);
  EXPECT_EQ(copy.first, storage.data());
  EXPECT_EQ(storage, narrow.floats());
}

TEST(Kernels, RefuseElementsTheyDoNotStore) {
  std::vector<std::int32_t> integers(4);
  const Matrix matrix{integers.data(), DType::i32, 2, 2, 2};
  EXPECT_THROW(add(matrix, matrix, matrix), InternalError);
}

}  // namespace
}  // namespace orrery::executor
