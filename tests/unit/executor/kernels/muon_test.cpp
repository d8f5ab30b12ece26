// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/muon.h"

#include "tests/unit/executor/kernels/values.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

/// Largest distance of the products of rows with each other from those of orthogonal rows of length 0.7 to 1.2.
double distance_from_orthogonal(const Values& rows, std::int64_t m, std::int64_t n) {
  const Doubles x = rows.doubles();
  double worst = 0.0;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < m; ++j) {
      double product = 0.0;
      for (std::int64_t k = 0; k < n; ++k)
        product += x[static_cast<std::size_t>(i * n + k)] * x[static_cast<std::size_t>(j * n + k)];
      worst = std::max(worst, std::abs(product - (i == j ? 1.0 : 0.0)));
    }
  }
  return worst;
}

TEST(Muon, BringsSingularValuesNearOne) {
  const Values x = Values::random(8, 32, "x");
  Values out(8, 32);
  for (const Gemm* gemm : available_gemms()) {
    orthogonalize(*gemm, x, out);
    EXPECT_GT(distance_from_orthogonal(x, 8, 32), 5.0);
    EXPECT_LT(distance_from_orthogonal(out, 8, 32), 0.6) << gemm->name;
  }
}

TEST(Muon, ATallMatrixIsTheTransposeOfAWideOne) {
  const Values wide = Values::random(4, 12, "x");
  Values tall(12, 4), of_wide(4, 12), of_tall(12, 4);
  for (std::int64_t i = 0; i < 4; ++i) {
    for (std::int64_t j = 0; j < 12; ++j) tall.view().row<float>(j)[i] = wide.view().row<float>(i)[j];
  }
  orthogonalize(choose_gemm("reference"), wide, of_wide);
  orthogonalize(choose_gemm("reference"), tall, of_tall);
  for (std::int64_t i = 0; i < 4; ++i) {
    for (std::int64_t j = 0; j < 12; ++j) {
      EXPECT_EQ(of_tall.view().row<float>(j)[i], of_wide.view().row<float>(i)[j]);
    }
  }
}

TEST(Muon, KeepsMomentumAndScalesItsStepByTheLargerSide) {
  std::vector<float> momentum = {1.0F, 2.0F};
  muon_momentum({.momentum = 0.5F}, 2.0F, std::vector<float>{1.0F, 0.0F}, momentum);
  EXPECT_EQ(momentum, (std::vector<float>{2.5F, 1.0F}));
  Values master = Values::of({1.0, 1.0, 1.0, 1.0}, 1), model(1, 4, DType::bf16);
  muon_update({.learning_rate = 0.5F, .weight_decay = 0.5F}, Values::of({1.0, 0.0, 0.0, 0.0}, 1), master, model);
  EXPECT_NEAR(master.doubles()[0], 1.0 - 0.5 * (0.2 * 2.0 + 0.5), 1e-6);
  EXPECT_NEAR(master.doubles()[1], 0.75, 1e-6);
  EXPECT_EQ(model.doubles()[1], 0.75);
}

}  // namespace
}  // namespace orrery::executor
