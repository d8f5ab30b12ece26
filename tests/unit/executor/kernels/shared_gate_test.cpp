// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/shared_gate.h"

#include "tests/unit/executor/kernels/values.h"

#include <cmath>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

constexpr std::int64_t kTokens = 3, kHidden = 4;

/// Sum of dout * out * sigmoid(x . w) for x, w and the output before the gate, one after the other.
double gated(const Doubles& all, const Doubles& dout) {
  const double* x = all.data();
  const double* w = x + kTokens * kHidden;
  const double* out = w + kHidden;
  double sum = 0.0;
  for (std::int64_t t = 0; t < kTokens; ++t) {
    double logit = 0.0, product = 0.0;
    for (std::int64_t i = 0; i < kHidden; ++i) logit += x[t * kHidden + i] * w[i];
    for (std::int64_t i = 0; i < kHidden; ++i)
      product += out[t * kHidden + i] * dout[static_cast<std::size_t>(t * kHidden + i)];
    sum += product / (1.0 + std::exp(-logit));
  }
  return sum;
}

TEST(SharedGate, ScalesATokenAndItsBackwardIsTheGradient) {
  const Values x = Values::random(kTokens, kHidden, "x"), w = Values::random(1, kHidden, "w");
  const Values shared = Values::random(kTokens, kHidden, "shared"), dout = Values::random(kTokens, kHidden, "dout");
  Doubles all;
  for (const Values* part : {&x, &w, &shared}) {
    const Doubles values = part->doubles();
    all.insert(all.end(), values.begin(), values.end());
  }
  Values out = shared;
  std::vector<float> gate(kTokens);
  shared_gate_forward(x, w, out, gate);
  EXPECT_NEAR(dot(out.doubles(), dout.doubles()), gated(all, dout.doubles()), 1e-6);

  Values dshared(kTokens, kHidden), dx = Values::of(Doubles(kTokens * kHidden, 1.0), kTokens);  // it adds to dx
  std::vector<float> dw(kHidden);
  shared_gate_backward(x, w, out, gate, dout, dshared, dx, dw);
  const Doubles want = numeric_gradient([&](const Doubles& v) { return gated(v, dout.doubles()); }, all);
  Doubles got = dx.doubles();
  for (double& value : got) value -= 1.0;
  got.insert(got.end(), dw.begin(), dw.end());
  const Doubles of_shared = dshared.doubles();
  got.insert(got.end(), of_shared.begin(), of_shared.end());
  EXPECT_LT(difference(got, want), 2e-6);
}

}  // namespace
}  // namespace orrery::executor
