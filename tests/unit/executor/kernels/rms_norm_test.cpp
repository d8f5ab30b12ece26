// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/rms_norm.h"

#include "tests/unit/executor/kernels/values.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

constexpr float kEpsilon = 1e-5F;

Doubles reference(const Doubles& x, const Doubles& gamma) {
  const std::size_t hidden = gamma.size();
  Doubles y(x.size());
  for (std::size_t row = 0; row < x.size(); row += hidden) {
    double sum = 0.0;
    for (std::size_t i = 0; i < hidden; ++i) sum += x[row + i] * x[row + i];
    const double rms = std::sqrt(sum / static_cast<double>(hidden) + static_cast<double>(kEpsilon));
    for (std::size_t i = 0; i < hidden; ++i) y[row + i] = x[row + i] / rms * gamma[i];
  }
  return y;
}

TEST(RmsNorm, DividesEachRowByItsRootMeanSquare) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Values x = Values::random(3, 37, "x", dtype);
    const Values gamma = Values::random(1, 37, "gamma", dtype);
    Values y(3, 37, dtype);
    rms_norm_forward(x, gamma, kEpsilon, y);
    EXPECT_LT(difference(y.doubles(), reference(x.doubles(), gamma.doubles())), dtype == DType::f32 ? 1e-6 : 0x1p-8);
  }
}

TEST(RmsNorm, BackwardIsTheGradientOfTheForward) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const double tolerance = dtype == DType::f32 ? 2e-6 : 0x1p-8;
    const Values x = Values::random(3, 21, "x", dtype);
    const Values gamma = Values::random(1, 21, "gamma", dtype);
    const Values dy = Values::random(3, 21, "dy", dtype);
    Values dx(3, 21, dtype);
    std::vector<float> dgamma(21);
    rms_norm_backward(x, gamma, kEpsilon, dy, dx, dgamma);
    const auto of_x = [&](const Doubles& v) { return dot(reference(v, gamma.doubles()), dy.doubles()); };
    const auto of_gamma = [&](const Doubles& v) { return dot(reference(x.doubles(), v), dy.doubles()); };
    EXPECT_LT(difference(dx.doubles(), numeric_gradient(of_x, x.doubles())), tolerance);
    EXPECT_LT(difference({dgamma.begin(), dgamma.end()}, numeric_gradient(of_gamma, gamma.doubles())), 2e-6);
  }
}

TEST(RmsNorm, BackwardAddsToTheGradientOfGamma) {
  const Values x = Values::of({1.0, 1.0}, 1);
  const Values ones = Values::of({1.0, 1.0}, 1);
  Values dx(1, 2);
  std::vector<float> dgamma = {5.0F, 7.0F};
  rms_norm_backward(x, ones, 0.0F, ones, dx, dgamma);
  EXPECT_EQ(dgamma, (std::vector<float>{6.0F, 8.0F}));
}

TEST(RmsNorm, GivesARowTheSameBitsWhereverItLies) {
  std::vector<float> memory(400);
  const Values x = Values::random(1, 301, "x");
  const Values gamma = Values::random(1, 301, "gamma");
  Values want(1, 301);
  rms_norm_forward(x, gamma, kEpsilon, want);
  for (std::size_t shift = 0; shift < 20; ++shift) {
    const Matrix moved = matrix_of(memory.data() + shift, 1, 301);
    convert(x, moved);
    Values y(1, 301);
    rms_norm_forward(moved, gamma, kEpsilon, y);
    EXPECT_EQ(y.bytes(), want.bytes()) << shift;
  }
}

}  // namespace
}  // namespace orrery::executor
