// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/swiglu.h"

#include "base/errors.h"
#include "tests/unit/executor/kernels/values.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

constexpr std::size_t kRows = 4;
constexpr std::size_t kWidth = 19;

Doubles reference(const Doubles& gate_up, const Doubles& probability) {
  Doubles out;
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t i = 0; i < kWidth; ++i) {
      const double gate = gate_up[row * 2 * kWidth + i];
      out.push_back(gate / (1.0 + std::exp(-gate)) * gate_up[row * 2 * kWidth + kWidth + i] * probability[row]);
    }
  }
  return out;
}

class Swiglu : public testing::TestWithParam<DType> {
 protected:
  double tolerance() const { return GetParam() == DType::f32 ? 1e-6 : 0x1p-8; }
  const Values gate_up_ = Values::random(kRows, 2 * kWidth, "gate_up", GetParam());
  const Values dout_ = Values::random(kRows, kWidth, "dout", GetParam());
  const std::vector<float> probability_ = Values::random(1, kRows, "p").floats();
};
INSTANTIATE_TEST_SUITE_P(Storage, Swiglu, testing::Values(DType::f32, DType::bf16),
                         [](const auto& test) { return std::string(name_of(test.param)); });

TEST_P(Swiglu, ScalesTheGatedProductByTheProbabilityOfTheRow) {
  Values out(kRows, kWidth, GetParam());
  swiglu_forward(gate_up_, probability_, out);
  const Doubles probability(probability_.begin(), probability_.end());
  EXPECT_LT(difference(out.doubles(), reference(gate_up_.doubles(), probability)), tolerance());
}

TEST_P(Swiglu, WithoutProbabilitiesIsTheDenseActivation) {
  Values out(kRows, kWidth, GetParam()), with_ones(kRows, kWidth, GetParam());
  swiglu_forward(gate_up_, {}, out);
  swiglu_forward(gate_up_, std::vector<float>(kRows, 1.0F), with_ones);
  EXPECT_EQ(out.bytes(), with_ones.bytes());
}

TEST_P(Swiglu, BackwardIsTheGradientOfTheForward) {
  Values dgate_up(kRows, 2 * kWidth, GetParam());
  std::vector<float> dprobability(kRows);
  swiglu_backward(gate_up_, probability_, dout_, dgate_up, dprobability);
  const Doubles probability(probability_.begin(), probability_.end());
  const auto of_gate_up = [&](const Doubles& v) { return dot(reference(v, probability), dout_.doubles()); };
  const auto of_probability = [&](const Doubles& v) { return dot(reference(gate_up_.doubles(), v), dout_.doubles()); };
  EXPECT_LT(difference(dgate_up.doubles(), numeric_gradient(of_gate_up, gate_up_.doubles())), tolerance());
  EXPECT_LT(difference({dprobability.begin(), dprobability.end()}, numeric_gradient(of_probability, probability)),
            1e-6);
}

// Limits within the values, so that some of each half are cut.
const ClampedSwiglu kClamped{.alpha = 1.3F, .limit = 0.4F};

Doubles clamped_reference(const Doubles& gate_up, const Doubles& probability) {
  Doubles out;
  const auto limit = static_cast<double>(kClamped.limit), alpha = static_cast<double>(kClamped.alpha);
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t i = 0; i < kWidth; ++i) {
      const double gate = std::min(gate_up[row * 2 * kWidth + i], limit);
      const double up = std::clamp(gate_up[row * 2 * kWidth + kWidth + i], -limit, limit);
      out.push_back(gate / (1.0 + std::exp(-alpha * gate)) * (up + 1.0) * probability[row]);
    }
  }
  return out;
}

TEST_P(Swiglu, OfGptOssIsClampedSharpenedAndHasOneAdded) {
  const Doubles values = gate_up_.doubles();
  const auto is_cut = [](double value) { return value > static_cast<double>(kClamped.limit); };
  EXPECT_TRUE(std::any_of(values.begin(), values.end(), is_cut));
  Values out(kRows, kWidth, GetParam());
  kClamped.forward(gate_up_, probability_, out);
  const Doubles probability(probability_.begin(), probability_.end());
  EXPECT_LT(difference(out.doubles(), clamped_reference(values, probability)), tolerance());
}

TEST_P(Swiglu, OfGptOssHasTheGradientOfItsForward) {
  Values dgate_up(kRows, 2 * kWidth, GetParam());
  std::vector<float> dprobability(kRows);
  kClamped.backward(gate_up_, probability_, dout_, dgate_up, dprobability);
  const Doubles probability(probability_.begin(), probability_.end());
  const auto of_gate_up = [&](const Doubles& v) { return dot(clamped_reference(v, probability), dout_.doubles()); };
  const auto of_probability = [&](const Doubles& v) {
    return dot(clamped_reference(gate_up_.doubles(), v), dout_.doubles());
  };
  EXPECT_LT(difference(dgate_up.doubles(), numeric_gradient(of_gate_up, gate_up_.doubles())), tolerance());
  EXPECT_LT(difference({dprobability.begin(), dprobability.end()}, numeric_gradient(of_probability, probability)),
            1e-6);
}

// An expert's row that no token came to has zeros, and must leave zeros although 1 is added.
TEST_P(Swiglu, OfGptOssLeavesAnEmptyRowEmpty) {
  Values out(1, kWidth, GetParam());
  kClamped.forward(Values(1, 2 * kWidth, GetParam()), std::vector<float>{1.0F}, out);
  EXPECT_EQ(out.doubles(), Doubles(kWidth, 0.0));
}

TEST(SwigluShapes, MustHaveTwoInputsPerOutput) {
  Values out(2, 4);
  EXPECT_THROW(swiglu_forward(Values(2, 7), {}, out), InternalError);
  EXPECT_THROW(swiglu_forward(Values(2, 8), std::vector<float>(3), out), InternalError);
}

}  // namespace
}  // namespace orrery::executor
