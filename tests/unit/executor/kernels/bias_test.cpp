// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/bias.h"

#include "tests/unit/executor/kernels/values.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

TEST(Bias, IsAddedToEveryRowAndItsGradientIsTheSumOfTheRows) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Values y = Values::of({1.0, 2.0, 3.0, 4.0}, 2, dtype);
    add_bias(Values::of({10.0, 20.0}, 1, dtype), y);
    EXPECT_EQ(y.doubles(), (Doubles{11.0, 22.0, 13.0, 24.0}));
    std::vector<float> gradient = {1.0F, 1.0F};
    bias_backward(y, gradient);
    EXPECT_EQ(gradient, (std::vector<float>{25.0F, 47.0F}));
  }
}

TEST(Bias, OfExpertsGoesToTheirRowsTimesTheFactorOfEachRow) {
  const std::vector<std::int64_t> offsets = {0, 1, 1, 3};  // the second expert has no row
  const std::vector<float> factors = {1.0F, 2.0F, 0.5F};
  Values y = Values::of({0.0, 0.0, 0.0}, 3);
  add_grouped_bias(Values::of({1.0, 10.0, 100.0}, 3), offsets, factors, y);
  EXPECT_EQ(y.doubles(), (Doubles{1.0, 200.0, 50.0}));
  Values gradient(3, 1);
  grouped_bias_backward(Values::of({1.0, 1.0, 4.0}, 3), offsets, factors, gradient);
  EXPECT_EQ(gradient.doubles(), (Doubles{1.0, 0.0, 4.0}));
  add_grouped_bias(Values::of({1.0, 10.0, 100.0}, 3), offsets, {}, y);
  EXPECT_EQ(y.doubles(), (Doubles{2.0, 300.0, 150.0}));
}

}  // namespace
}  // namespace orrery::executor
